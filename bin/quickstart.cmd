@echo off
rem Starts a NameServer and a broker, sends 1,000 messages and consumes them back. Options: --data DIR, --keep.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\python.exe" -m rocketmq_tx.cli.quickstart %*
exit /b %ERRORLEVEL%
