// From `_HANDLER` to a function: `folder/file.export.nested`, found as AWS finds it.

import fs from 'node:fs';
import Module, { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import {
  HandlerNotFound,
  ImportModuleError,
  MalformedHandlerName,
  MalformedStreamingHandler,
  UserCodeSyntaxError,
} from './errors.mjs';
import { STREAMING } from './streaming.mjs';

// As if the entry point asked: that is the name which users find under `Require stack`.
const require = createRequire(new URL('./index.mjs', import.meta.url));

export async function loadHandler(root, name) {
  const { folder, file, exported } = parse(name);
  addLayerPaths(root);
  const loaded = await load(root, folder, file);
  const handler = exported.split('.').reduce((value, key) => value?.[key], loaded);
  if (!handler) throw new HandlerNotFound(`${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw new HandlerNotFound(`${name} is not a function`);
  return handler;
}

// Whether the handler streams its response.
export function streamingOf(handler) {
  const mode = handler[STREAMING];
  if (mode === undefined || mode === null || mode === false) return false;
  if (mode === 'response') return true;
  throw new MalformedStreamingHandler('Only response streaming is supported.');
}

function parse(name) {
  if (name.includes('..')) {
    throw new MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(name);
  const match = base.match(/^([^.]*)\.(.*)$/);
  if (!match) throw new MalformedHandlerName('Bad handler');
  return { folder: name.slice(0, name.length - base.length), file: match[1], exported: match[2] };
}

// Where `require` looks beside the function's own folder: layers and the runtime.
function addLayerPaths(root) {
  const runtime = process.env.LAMBDA_RUNTIME_DIR || '/var/runtime';
  const major = process.versions.node.split('.')[0];
  const folders = [
    process.env.NODE_PATH,
    `/opt/nodejs/node${major}/node_modules`,
    '/opt/nodejs/node_modules',
    `${runtime}/node_modules`,
    root,
  ];
  process.env.NODE_PATH = folders.filter(Boolean).join(path.delimiter);
  Module._initPaths();
}

async function load(root, folder, file) {
  try {
    return await find(root, folder, file);
  } catch (error) {
    if (error instanceof SyntaxError) throw new UserCodeSyntaxError(error);
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') throw new ImportModuleError(error);
    throw error;
  }
}

async function find(root, folder, file) {
  const base = path.resolve(root, folder, file);
  if (isFile(base)) return require(base);
  const isModule = inModulePackage(path.dirname(base));
  if (isFile(`${base}.js`)) return isModule ? import(pathToFileURL(`${base}.js`).href) : require(`${base}.js`);
  if (isFile(`${base}.mjs`)) return import(pathToFileURL(`${base}.mjs`).href);
  if (isFile(`${base}.cjs`)) return require(`${base}.cjs`);
  // A package, as Node.js itself finds it.
  return require(require.resolve(file, { paths: [root, path.resolve(root, folder)] }));
}

function isFile(name) {
  return fs.statSync(name, { throwIfNoEntry: false })?.isFile() ?? false;
}

// Whether the nearest package.json says "type": "module".
function inModulePackage(folder) {
  if (folder.endsWith('/node_modules')) return false;
  const description = path.join(folder, 'package.json');
  if (fs.existsSync(description)) {
    try {
      return JSON.parse(fs.readFileSync(description, 'utf8'))?.type === 'module';
    } catch (error) {
      console.warn(`${description} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  const parent = path.dirname(folder);
  return parent !== folder && inModulePackage(parent);
}
