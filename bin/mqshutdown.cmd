@echo off
rem mqshutdown of this checkout, in its .venv.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\mqshutdown.exe" %*
exit /b %ERRORLEVEL%
