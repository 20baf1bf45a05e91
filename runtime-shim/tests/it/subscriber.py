import http.server, threading


def listen(name="records", status=lambda: 200):
    """A listener that keeps what it gets, a record a line, and the heads of the requests."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = status()
            if answer == 200:
                keep(name, "".join(json.dumps(record) + "\n" for record in json.loads(body)))
            keep("heads", json.dumps([self.command, self.path, dict(self.headers), answer]) + "\n")
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORTS.get(name, 0)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


PORTS = {}


def keep(name, text):
    with open(path(name), "a") as file:
        file.write(text)


def records(name="records"):
    try:
        with open(path(name)) as file:
            return [json.loads(line) for line in file.read().split("\n")[:-1]]
    except FileNotFoundError:
        return []


def subscribe(port, schema="2025-01-29", types=("platform", "function", "extension"), millis=25, api=None, **more):
    api = api or ("/2020-08-15/logs" if schema < "2022" else "/2022-07-01/telemetry")
    body = {"schemaVersion": schema, "types": list(types), "buffering": {"timeoutMs": millis},
            "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d/t" % port}, **more}
    return extension("PUT", api, json.dumps(body), {"Lambda-Extension-Identifier": ID})[::2]
