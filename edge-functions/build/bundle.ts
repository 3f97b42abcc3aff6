import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Plugin, type RollupError, rollup } from 'rollup';
import { minify } from 'terser';
import { BYTE_BUDGET, type EmbeddedKey, withKeys } from '../store/keys-line.ts';
import { COMPOSED, composition, type OwnModules } from './composition.ts';
import { checkDialect } from './dialect.ts';
import { EdgeBuildError } from './errors.ts';
import { type EdgeSettings, tokenPrefix } from './settings.ts';

/** What the bundle must not contain: nothing that signs for others, no SDK, nothing of Node. */
const FORBIDDEN_CONTENT = /\bmint\w*|@aws-sdk|node:|\brequire\(/i;

/** Members that never leave the function, and may have any name: no claim, no field of an event, nothing in the store. */
const INTERNAL_MEMBERS = /^(?:isMac|decode|maxLifetimeSeconds|leewaySeconds|signed|payload|signature|session|isRight)$/;

/**
 * `store` reads keys and revocations from the edge store, `embedded` carries its key ring in its last line, `compat` too,
 * and takes the tokens of the AWS solution v1 beside ours.
 */
export type EdgeVariant = 'store' | 'embedded' | 'compat';

const ENTRY: Record<EdgeVariant, string> = {
  store: 'viewer-request.js',
  embedded: 'viewer-request.embedded.js',
  compat: 'viewer-request.compat.js',
};

/** A built function. `bytes` and `sha256` (hex) are of its UTF-8 `code`. */
export interface EdgeFunction {
  code: string;
  bytes: number;
  sha256: string;
}

/** The settings module of the function with the configured values in place of the defaults. */
function settingsModule(sourceDirectory: string, settings: EdgeSettings): Plugin {
  return {
    name: 'settings',
    load(id) {
      if (id !== join(sourceDirectory, 'settings.js')) return null;
      const list = (items: string[]) => JSON.stringify(items.length > 0 ? items : null);
      return [
        `export const MAX_TOKEN_LIFETIME_SECONDS = ${settings.maxTokenLifetimeSeconds};`,
        `export const LEEWAY_SECONDS = ${settings.leewaySeconds};`,
        `export const TOKEN_PREFIX = ${JSON.stringify(tokenPrefix(settings))};`,
        `export const MODE = ${JSON.stringify(settings.mode)};`,
        `export const DENY_UNREADABLE = ${settings.unreadableStore === 'deny'};`,
        `export const LEGACY_USER_AGENTS = ${list(settings.legacyUserAgents)};`,
        `export const ALLOWED_ORIGINS = ${settings.allowedOrigins.includes('*') ? null : JSON.stringify(settings.allowedOrigins)};`,
      ].join('\n');
    },
  };
}

/**
 * Builds a viewer-request function from the compiled sources in `sourceDirectory` (`dist/lib/edge-functions/
 * viewer-request`). `ring` is what the variants with embedded keys carry, `own` what is composed with it. Throws
 * `EdgeBuildError` when the result does not pass the gates: dialect, content, bytes.
 */
export async function buildEdgeFunction(
  sourceDirectory: string,
  variant: EdgeVariant,
  settings: EdgeSettings,
  ring: Record<string, EmbeddedKey> = {},
  own: OwnModules = {},
): Promise<EdgeFunction> {
  const entry = join(sourceDirectory, ENTRY[variant]);
  const isComposed = Boolean(own.before || own.after);
  const bundle = await rollup({
    input: isComposed ? COMPOSED : entry,
    external: ['cloudfront', 'crypto', 'querystring'],
    plugins: [
      settingsModule(sourceDirectory, settings),
      ...(isComposed ? [composition(entry, sourceDirectory, variant === 'store', own)] : []),
    ],
    treeshake: { moduleSideEffects: false },
    onwarn(warning) {
      throw new EdgeBuildError('ERR_EDGE_SOURCE', warning.message);
    },
  }).catch((error: RollupError) => {
    const isRefused = error.pluginCode === 'ERR_EDGE_DIALECT';
    const message = error.message.replace(/^\[plugin \w+\] /, '');
    if (isRefused) throw new EdgeBuildError('ERR_EDGE_DIALECT', message);
    const [, module] = /"default" is not exported by "([^"]+)"/.exec(message) ?? [];
    if (module)
      throw new EdgeBuildError(
        'ERR_EDGE_SOURCE',
        `${module}: has no default export: export default function (event) {…}`,
      );
    throw new EdgeBuildError('ERR_EDGE_SOURCE', `the function cannot be bundled: ${message}`);
  });
  const { output } = await bundle.generate({ format: 'es' });
  await bundle.close();
  const handlerExport = /\nexport \{ handler \};\s*$/;
  if (!handlerExport.test(output[0].code)) throw new EdgeBuildError('ERR_EDGE_SOURCE', 'the entry must export handler');

  // `reduce_funcs: false`: a function that is moved to where it is called becomes a closure, and dearer. `shorthand: false`:
  // the runtime does not document `{a}`.
  const { code = '' } = await minify(output[0].code.replace(handlerExport, '\n'), {
    ecma: 2015,
    module: false,
    toplevel: true,
    mangle: {
      toplevel: true,
      reserved: ['handler', 'KEYS'],
      // Code of the user's own may have members of these names that are no business of ours.
      properties: isComposed ? false : { regex: INTERNAL_MEMBERS, builtins: true },
    },
    compress: {
      ecma: 2015,
      toplevel: true,
      passes: 5,
      top_retain: ['handler'],
      inline: 3,
      reduce_funcs: false,
      // Of our own code they hold; a user's may rely on a getter that throws, or call `new` on a function.
      unsafe_arrows: !isComposed,
      pure_getters: !isComposed,
      keep_fargs: false,
    },
    format: { ecma: 2015, ascii_only: true, shorthand: false },
  });
  checkContent(code, settings);
  return checked(variant === 'store' ? `${code}\n` : withKeys(`${code}\n`, ring));
}

/** Throws `ERR_EDGE_CONTENT` when the code holds what must not reach the edge. What was configured, and the keys, are no code. */
function checkContent(code: string, { legacyUserAgents }: EdgeSettings): void {
  const own = legacyUserAgents.reduce((text, start) => text.replaceAll(JSON.stringify(start), '""'), code);
  const forbidden = FORBIDDEN_CONTENT.exec(own);
  if (forbidden) throw new EdgeBuildError('ERR_EDGE_CONTENT', `'${forbidden[0]}' must not reach the edge`);
}

function checked(code: string): EdgeFunction {
  checkDialect(code);
  const bytes = Buffer.byteLength(code);
  if (bytes > BYTE_BUDGET) {
    throw new EdgeBuildError('ERR_EDGE_BUDGET', `the function has ${bytes} bytes, CloudFront takes ${BYTE_BUDGET}`);
  }
  return { code, bytes, sha256: createHash('sha256').update(code).digest('hex') };
}
