@echo off
rem tools of this checkout, in its .venv.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\python.exe" -m rocketmq_tx.cli.tools %*
exit /b %ERRORLEVEL%
