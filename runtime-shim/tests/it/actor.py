def stream(id, event):
    """Sends pieces as chunks: texts, or {"wait": file}, {"size": bytes}, {"exit": code}, {"trailers": error type}."""
    connection.putrequest("POST", "/2018-06-01/runtime/invocation/%s/response" % id)
    if event.get("mode", "streaming"):
        connection.putheader("Lambda-Runtime-Function-Response-Mode", event.get("mode", "streaming"))
    if "type" in event:
        connection.putheader("Content-Type", event["type"])
    connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    end, sent = b"", 0
    for piece in event["pieces"]:
        if isinstance(piece, dict):
            if "wait" in piece:
                wait(piece["wait"])
            if "exit" in piece:
                os._exit(piece["exit"])
            if "hang" in piece:
                time.sleep(60)
            if "trailers" in piece:
                import base64
                body = base64.b64encode(json.dumps({"errorMessage": "late"}).encode()).decode()
                end = ("Lambda-Runtime-Function-Error-Type: %s\r\nLambda-Runtime-Function-Error-Body: %s\r\n"
                       % (piece["trailers"], body)).encode()
            if "error" in piece:
                other = http.client.HTTPConnection(API)
                other.request("POST", "/2018-06-01/runtime/invocation/%s/error" % id, b"{}")
                touch("refused", str(other.getresponse().status))
            left = piece.get("size", 0)
            while left:
                size = min(left, 65536)
                connection.send(b"%x\r\n" % size + b"x" * size + b"\r\n")
                left -= size
            if "size" in piece:
                sent += piece["size"]
                touch("sent", str(sent))
            continue
        data = piece.encode()
        connection.send(b"%x\r\n" % len(data) + data + b"\r\n")
    connection.send(b"0\r\n" + end + b"\r\n")
    response = connection.getresponse()
    touch("answered", json.dumps([response.status, response.read().decode()]))


def act(id, event, headers):
    what = event.get("do") if isinstance(event, dict) else None
    if what == "error":
        return fail(id, b'{"errorMessage":"no","errorType":"Oops","stackTrace":[]}')
    if what == "exit":
        os._exit(int(event["code"]))
    if what == "signal":
        os.kill(os.getpid(), int(event["number"]))
    if what == "hang":
        touch("hanging", str(os.getpid()))
        while True:
            time.sleep(60)
    if what == "wait":
        touch(event["started"])
        wait(event["until"])
    if what == "size":
        return respond(id, b"x" * int(event["bytes"]))
    if what == "say":
        say(event["text"])
    if what == "who":
        return respond(id, json.dumps({"pid": os.getpid(), "index": INDEX}))
    if what == "env":
        return respond(id, json.dumps(dict(os.environ)))
    if what == "stream":
        return stream(id, event)
    if what == "empty":
        return respond(id, b"")
    if what == "raw":
        return respond(id, event["text"].encode(), {"Content-Type": "text/css"})
    if what == "headers":
        return respond(id, json.dumps(headers))
    return respond(id, json.dumps(event))


while True:
    id, body, headers = next_event()
    try:
        event = json.loads(body)
    except ValueError:
        respond(id, body)
        continue
    act(id, event, headers)
