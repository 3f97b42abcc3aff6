import { BINDING_DOCS } from '../../token/binding-docs.ts';
import { REASON_DOCS } from '../../token/reason-docs.ts';
import type { EdgeFunction } from './bundle.ts';
import { EdgeBuildError } from './errors.ts';
import type { EdgeSettings } from './settings.ts';

/** What a deployment needs to know of the built functions; written to `dist/edge/manifest.json`. */
export interface EdgeManifest {
  runtime: 'cloudfront-js-2.0';
  eventType: 'viewer-request';
  functions: Record<string, { bytes: number; sha256: string }>;
  /** What the functions were built with: minting and revocation have to agree with it. */
  settings: EdgeSettings;
  /** Headers that CloudFront must generate through an origin request policy, by default at most ten. */
  generatedHeaders: string[];
  /** Headers of the viewer's own that the function only reads; no policy has to name them. */
  viewerHeaders: string[];
  /** Why requests are denied, as the function logs it. */
  denialReasons: string[];
}

/** Headers in an origin request policy, unless AWS raises the quota (AWS, "Quotas on policies"). */
const MAX_GENERATED_HEADERS = 10;

/** Throws `ERR_EDGE_HEADERS` when one origin request policy cannot name all of these. */
export function checkedHeaders(names: string[]): string[] {
  if (names.length <= MAX_GENERATED_HEADERS) return names;
  const message = `the bindings need ${names.length} generated headers, CloudFront gives ${MAX_GENERATED_HEADERS}`;
  throw new EdgeBuildError('ERR_EDGE_HEADERS', message);
}

/** The manifest of the functions by file name. */
export function edgeManifest(functions: Record<string, EdgeFunction>, settings: EdgeSettings): EdgeManifest {
  const docs = Object.values(BINDING_DOCS);
  return {
    runtime: 'cloudfront-js-2.0',
    eventType: 'viewer-request',
    functions: Object.fromEntries(
      Object.entries(functions).map(([name, { bytes, sha256 }]) => [name, { bytes, sha256 }]),
    ),
    settings,
    generatedHeaders: checkedHeaders(docs.flatMap(({ generatedHeaders }) => generatedHeaders ?? []).sort()),
    viewerHeaders: [...docs.flatMap(({ viewerHeader }) => viewerHeader ?? []), 'origin'].sort(),
    denialReasons: Object.keys(REASON_DOCS),
  };
}
