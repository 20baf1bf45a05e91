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
