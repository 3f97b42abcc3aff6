import { BINDING_DOCS } from '../../token/binding-docs.ts';
import type { EdgeFunction } from './bundle.ts';
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
    generatedHeaders: docs.flatMap(({ generatedHeader }) => generatedHeader ?? []).sort(),
    viewerHeaders: [...docs.flatMap(({ viewerHeader }) => viewerHeader ?? []), 'origin'].sort(),
  };
}
