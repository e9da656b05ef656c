@echo off
rem mqstore of this checkout, in its .venv.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\mqstore.exe" %*
exit /b %ERRORLEVEL%
