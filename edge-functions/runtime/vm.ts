import crypto from 'node:crypto';
import querystring from 'node:querystring';
import vm from 'node:vm';
import { CLOUDFRONT_MODULE } from './cloudfront-module.ts';
import { EdgeRuntimeError, type InvocationResult, type RunOptions, TIMEOUT_MS, timeoutError } from './runtime.ts';

const IMPORT_LINE = /^import\s*([\w$]+)\s*from\s*(["'])(cloudfront|crypto|querystring)\2;?/;

/** A function that was loaded once and is invoked many times. */
export interface LoadedFunction {
  /** Throws `ERR_RUNTIME_TIMEOUT`. */
  invoke(event: unknown): InvocationResult;
}

/**
 * Loads a built function into a V8 context of its own. Only its leading import lines are replaced; everything else is
 * run as shipped. `now` returns seconds since the epoch, `read` an entry of the edge store;
 * keys that begin with one of `unreadable` cannot be read. V8 knows more of the
 * language than CloudFront does and a context is no security boundary: this runs our own bundle, nobody else's.
 * Throws `ERR_RUNTIME_FUNCTION` when the code does not load or has no handler.
 */
export function loadFunction(
  code: string,
  now: () => number,
  read: (key: string) => string | undefined,
  unreadable: string[] = [],
): LoadedFunction {
  let body = code;
  let imports = '';
  for (let line = IMPORT_LINE.exec(body); line; line = IMPORT_LINE.exec(body)) {
    imports += `const ${line[1]} = MODULES[${JSON.stringify(line[3])}];`;
    body = body.slice(line[0].length).trimStart();
  }
  // Its own queue of promise jobs, run within each evaluation: so an invocation ends before it returns, or times out.
  const context = vm.createContext(
    {
      READ: read,
      UNREADABLE: unreadable,
      NOW: now,
      MODULES: { crypto, querystring },
      EVENT: '',
      RESULT: '',
      Buffer,
      TextEncoder,
      TextDecoder,
      atob,
      btoa,
      console: { log: () => undefined },
    },
    { microtaskMode: 'afterEvaluate' },
  );
  const clock = `Date = class extends Date {
    constructor(...parts) { if (parts.length) super(...parts); else super(NOW() * 1000); }
    static now() { return NOW() * 1000; }
  };`;
  const driver = `;async function INVOKE() {
    MODULES.cloudfront.logged = undefined;
    MODULES.cloudfront.reads = 0;
    try {
      const value = await handler(JSON.parse(EVENT));
      RESULT = JSON.stringify({ value: value === undefined ? null : value, log: MODULES.cloudfront.logged, reads: MODULES.cloudfront.reads });
    } catch (error) {
      RESULT = JSON.stringify({ error: String(error), log: MODULES.cloudfront.logged, reads: MODULES.cloudfront.reads });
    }
  }`;
  try {
    vm.runInContext(`${clock}${CLOUDFRONT_MODULE}MODULES.cloudfront = cloudfrontModule;`, context);
    vm.runInContext(`${imports}${body}${driver}`, context, { timeout: TIMEOUT_MS });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw timeoutError();
    throw new EdgeRuntimeError('ERR_RUNTIME_FUNCTION', `the function does not load: ${String(error)}`);
  }
  const invocation = new vm.Script('RESULT = "";INVOKE();0');
  return {
    invoke(event) {
      context.EVENT = JSON.stringify(event);
      try {
        invocation.runInContext(context, { timeout: TIMEOUT_MS });
      } catch {
        throw timeoutError();
      }
      return context.RESULT === '' ? { error: 'the handler never finished', reads: 0 } : JSON.parse(context.RESULT);
    },
  };
}

/** `EdgeRuntime` on node:vm. */
export async function runInVm(code: string, events: unknown[], options: RunOptions): Promise<InvocationResult[]> {
  const loaded = loadFunction(
    code,
    () => options.now,
    (key) => options.store.get(key),
    options.unreadable,
  );
  const results: InvocationResult[] = [];
  for (const event of events) results.push(loaded.invoke(event));
  return results;
}
