import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { type Plugin, type RollupError, rollup } from 'rollup';
import { minify } from 'terser';
import type { VerificationKey } from '../../token/keys.ts';
import { checkDialect } from './dialect.ts';
import { EdgeBuildError } from './errors.ts';
import type { EdgeSettings } from './settings.ts';

/** Largest function that CloudFront takes, in bytes (AWS, "Quotas on CloudFront Functions"). */
export const BYTE_BUDGET = 10240;

/** What the bundle must not contain: nothing that signs for others, no SDK, nothing of Node. */
const FORBIDDEN_CONTENT = /\bmint\w*|@aws-sdk|node:|\brequire\(/i;

/** `store` reads keys and revocations from the edge store, `embedded` carries its key ring in its last line. */
export type EdgeVariant = 'store' | 'embedded';

const ENTRY: Record<EdgeVariant, string> = {
  store: 'viewer-request.js',
  embedded: 'viewer-request.embedded.js',
};

/** A built function. `bytes` and `sha256` (hex) are of its UTF-8 `code`. */
export interface EdgeFunction {
  code: string;
  bytes: number;
  sha256: string;
}

/** The settings module of the function with the configured values in place of the defaults. */
function settingsModule(settings: EdgeSettings): Plugin {
  return {
    name: 'settings',
    load(id) {
      if (basename(id) !== 'settings.js') return null;
      return [
        `export const MAX_TOKEN_LIFETIME_SECONDS = ${settings.maxTokenLifetimeSeconds};`,
        `export const LEEWAY_SECONDS = ${settings.leewaySeconds};`,
        `export const ALLOWED_ORIGINS = ${JSON.stringify(settings.allowedOrigins)};`,
        `export const ANY_ORIGIN = ${settings.allowedOrigins.includes('*')};`,
      ].join('\n');
    },
  };
}

/**
 * Builds a viewer-request function from the compiled sources in `sourceDirectory` (`dist/lib/edge-functions/
 * viewer-request`). `ring` is required for the embedded variant and must be absent otherwise. Throws `EdgeBuildError`
 * when the result does not pass the gates: dialect, content, bytes.
 */
export async function buildEdgeFunction(
  sourceDirectory: string,
  variant: EdgeVariant,
  settings: EdgeSettings,
  ring: Record<string, VerificationKey> = {},
): Promise<EdgeFunction> {
  const bundle = await rollup({
    input: join(sourceDirectory, ENTRY[variant]),
    external: ['cloudfront', 'crypto'],
    plugins: [settingsModule(settings)],
    treeshake: { moduleSideEffects: false },
    onwarn(warning) {
      throw new EdgeBuildError('ERR_EDGE_SOURCE', warning.message);
    },
  }).catch((error: RollupError) => {
    throw new EdgeBuildError('ERR_EDGE_SOURCE', `the function cannot be bundled: ${error.message}`);
  });
  const { output } = await bundle.generate({ format: 'es' });
  await bundle.close();
  const handlerExport = /\nexport \{ handler \};\s*$/;
  if (!handlerExport.test(output[0].code)) throw new EdgeBuildError('ERR_EDGE_SOURCE', 'the entry must export handler');

  // `inline: 0, reduce_funcs: false`: a function inlined into another one is a closure, and larger. `shorthand: false`:
  // the runtime does not document `{a}`.
  const { code = '' } = await minify(output[0].code.replace(handlerExport, '\n'), {
    ecma: 2015,
    module: false,
    toplevel: true,
    mangle: { toplevel: true, reserved: ['handler', 'KEYS'] },
    compress: {
      ecma: 2015,
      toplevel: true,
      passes: 3,
      top_retain: ['handler'],
      inline: 0,
      reduce_funcs: false,
      global_defs: {},
    },
    format: { ecma: 2015, ascii_only: true, shorthand: false },
  });
  const lastLine = variant === 'embedded' ? `${keysLine(ring)}\n` : '';
  return checked(`${code}\n${lastLine}`);
}

/** Line that carries the ring: signing and binding keys by key id, never the ring secrets. */
function keysLine(ring: Record<string, VerificationKey>): string {
  const keys = Object.fromEntries(Object.entries(ring).map(([kid, { sign, bind }]) => [kid, { sign, bind }]));
  return `const KEYS=${JSON.stringify(keys)};`;
}

function checked(code: string): EdgeFunction {
  checkDialect(code);
  const forbidden = FORBIDDEN_CONTENT.exec(code);
  if (forbidden) throw new EdgeBuildError('ERR_EDGE_CONTENT', `'${forbidden[0]}' must not reach the edge`);
  const bytes = Buffer.byteLength(code);
  if (bytes > BYTE_BUDGET) {
    throw new EdgeBuildError('ERR_EDGE_BUDGET', `the function has ${bytes} bytes, CloudFront takes ${BYTE_BUDGET}`);
  }
  return { code, bytes, sha256: createHash('sha256').update(code).digest('hex') };
}
