@echo off
rem Makes a slave the master of its broker name. Options: --ask, --force.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\python.exe" -m rocketmq_tx.cli.promote %*
exit /b %ERRORLEVEL%
