// The Node.js runtime client: loads the handler, then fetches events and answers them, for ever.
// Plain JavaScript for Node.js 18 and later, without dependencies.

import { patchConsole } from './console.mjs';
import { RuntimeApi } from './client.mjs';
import { UnhandledPromiseRejection, describe } from './errors.mjs';
import { loadHandler, streamingOf } from './loader.mjs';
import { Runtime } from './runtime.mjs';
import { installGlobals } from './streaming.mjs';

// Exit codes of AWS's own client.
const UNHANDLED_REJECTION = 128;
const UNCAUGHT_EXCEPTION = 129;

const api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
const runtime = new Runtime(api);

let dying = false;

// What nobody caught ends the process: during an invoke as that invoke's error, before the first one as the init's.
function die(what, error, code) {
  if (dying) return;
  dying = true;
  console.error(what, describe(error));
  runtime.report(error).catch(() => {}).then(() => process.exit(code));
}

process.on('uncaughtException', (error) => die('Uncaught Exception', error, UNCAUGHT_EXCEPTION));
process.on('unhandledRejection', (reason, promise) => {
  const error = new UnhandledPromiseRejection(String(reason), reason, promise);
  die('Unhandled Promise Rejection', error, UNHANDLED_REJECTION);
});

patchConsole();
installGlobals();

try {
  const root = process.env.LAMBDA_TASK_ROOT || process.cwd();
  const handler = await loadHandler(root, process.env._HANDLER ?? '');
  await runtime.run(handler, streamingOf(handler));
} catch (error) {
  die('Uncaught Exception', error, UNCAUGHT_EXCEPTION);
}
