@echo off
rem mqnamesrv of this checkout, in its .venv.
setlocal
call "%~dp0_venv.cmd" || exit /b 1
"%PROJECT%\.venv\Scripts\mqnamesrv.exe" %*
exit /b %ERRORLEVEL%
