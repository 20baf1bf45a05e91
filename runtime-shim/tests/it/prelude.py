import http.client, json, os, signal, socket, subprocess, sys, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
WORK = os.environ["WORK"]
INDEX = os.environ["BOOTSTRAP_INDEX"]
connection = http.client.HTTPConnection(API)


def call(method, path, body=None, headers={}):
    connection.request(method, "/2018-06-01/" + path, body, headers)
    response = connection.getresponse()
    return response.status, dict(response.headers), response.read()


def next_event():
    status, headers, body = call("GET", "runtime/invocation/next")
    assert status == 200, (status, body)
    return headers["Lambda-Runtime-Aws-Request-Id"], body, headers


def respond(id, body, headers={}):
    return call("POST", "runtime/invocation/%s/response" % id, body, headers)


def fail(id, body, headers={}):
    return call("POST", "runtime/invocation/%s/error" % id, body, headers)


def path(name):
    return os.path.join(WORK, name)


def touch(name, text=""):
    with open(path(name) + ".part", "w") as file:
        file.write(text)
    os.rename(path(name) + ".part", path(name))


def wait(name):
    while not os.path.exists(path(name)):
        time.sleep(0.002)


def say(text):
    print(text, flush=True)
