@echo off
rem mqbroker of this checkout, in its .venv.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\mqbroker.exe" %*
exit /b %ERRORLEVEL%
