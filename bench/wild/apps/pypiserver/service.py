import pypiserver

app = pypiserver.app(roots=["packages"], password_file=".", authenticate=[])
