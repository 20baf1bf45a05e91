NAME = os.path.basename(sys.argv[0])
ID = None


def extension(method, path, body=None, headers={}):
    """One call of the Extensions API, on a connection of its own."""
    own = http.client.HTTPConnection(API)
    own.request(method, path, body, headers)
    response = own.getresponse()
    text = response.read()
    return response.status, dict(response.headers), text.decode()


def register(events=(), name=NAME, headers={}):
    global ID
    answer = extension("POST", "/2020-01-01/extension/register", json.dumps({"events": list(events)}),
                       {"Lambda-Extension-Name": name, **headers})
    ID = answer[1].get("Lambda-Extension-Identifier")
    return answer


def event():
    status, headers, body = extension("GET", "/2020-01-01/extension/event/next", None,
                                      {"Lambda-Extension-Identifier": ID})
    assert status == 200, (status, body)
    return json.loads(body)


def give_up(when, error_type):
    headers = {"Lambda-Extension-Identifier": ID, "Lambda-Extension-Function-Error-Type": error_type}
    return extension("POST", "/2020-01-01/extension/%s/error" % when, "{}", headers)[0]


def note(text):
    """Appends a line to the file that the whole test writes its order of events to."""
    fd = os.open(path("notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)
