@echo off
rem Called by the scripts beside it: makes .venv when there is none and installs the project into it.
for %%I in ("%~dp0..") do set "PROJECT=%%~fI"
if exist "%PROJECT%\.venv\Scripts\mqbroker.exe" exit /b 0
if not exist "%PROJECT%\.venv\Scripts\python.exe" py -3 -m venv "%PROJECT%\.venv" || exit /b 1
"%PROJECT%\.venv\Scripts\python.exe" -m pip install --quiet --disable-pip-version-check -e "%PROJECT%" || exit /b 1
exit /b 0
