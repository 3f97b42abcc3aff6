import { join } from 'node:path';
import type { Plugin } from 'rollup';
import { checkDialect } from './dialect.ts';

/** Modules of a user's own, absolute paths, each with a default export: a function of the event. */
export interface OwnModules {
  /** Sees every request as it came. */
  before?: string | undefined;
  /** Sees the requests that go on, with their token already taken out. */
  after?: string | undefined;
}

/** The id of the entry that the plugin makes. */
export const COMPOSED = '\0composed';

/**
 * Makes an entry that runs our handler between the user's functions (a CloudFront behaviour takes one viewer-request
 * function). Each returns the request, which goes on, or a response, which is the answer; nothing at all ends the
 * request with an error, as it would alone. Their modules are held to the dialect where they are written, so that the
 * message has their lines; the built function is again, with the rest.
 */
export function composition(entry: string, sourceDirectory: string, isAsync: boolean, own: OwnModules): Plugin {
  const { before, after } = own;
  // `dist/lib`: what is compiled from here is checked as a whole, once it is bundled.
  const compiled = join(sourceDirectory, '..', '..');
  return {
    name: 'composition',
    resolveId: (id) => (id === COMPOSED ? id : null),
    load(id) {
      if (id !== COMPOSED) return null;
      return `
        import { handler as validate } from ${JSON.stringify(entry)};
        ${before ? `import before from ${JSON.stringify(before)};` : ''}
        ${after ? `import after from ${JSON.stringify(after)};` : ''}
        export ${isAsync ? 'async ' : ''}function handler(event) {
          ${before ? step('before(event)') : ''}
          ${after ? `${step(`${isAsync ? 'await ' : ''}validate(event)`)} return after(event);` : 'return validate(event);'}
        }`;
    },
    transform(code, id) {
      const isOurs = id === COMPOSED || id.startsWith(compiled);
      if (!isOurs) checkDialect(code, id);
      return null;
    },
  };
}

/** Runs a step of the composed handler: what is no request is the answer. */
function step(call: string): string {
  return `{
    const result = ${call};
    if (!result || result.statusCode) return result;
    event.request = result;
  }`;
}
