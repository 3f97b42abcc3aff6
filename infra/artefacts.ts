import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import type { EdgeManifest } from '../edge-functions/build/manifest.ts';
import type * as documents from '../enclave-render/aws-documents.ts';
import type { HandlerDescription } from '../lambda/handlers.ts';
import type { StateMachineDescription } from '../lambda/state-machines.ts';
import type { AccessLogs } from '../revocation/detect/log-delivery.ts';

/** A built handler: what `dist/lambda/manifest.json` says of it, and the folder of its code. */
export interface BuiltHandler extends HandlerDescription {
  bytes: number;
  /** Of `index.mjs`, hex. */
  sha256: string;
  folder: string;
}

/** Policies and scripts, each by the function of its capability. */
export type Documents = typeof documents;

/** What was built, and is deployed as it is. */
export interface Artefacts {
  /** Digest (SHA-256, hex) of the CDK app and of the documents it takes: what makes the templates. */
  infraSha256: string;
  edge: EdgeManifest;
  /** The code of an edge function by its file name. */
  edgeFunction: (file: string) => string;
  handlers: Record<string, BuiltHandler>;
  stateMachines: Record<string, StateMachineDescription>;
  /** The tables by module, as CreateTable takes them. */
  tables: Record<'api' | 'revocation', CreateTableCommandInput[]>;
  /** The attribute by which DynamoDB deletes items, by table. */
  timeToLive: Record<string, string>;
  /** What is delivered of requests, and the table that reads it. */
  accessLogs: AccessLogs;
  /** Folder of the console page. */
  console: string;
  /** Makes the policies and scripts that capabilities have for AWS. */
  documents: () => Documents;
}

/** Reads what was built: `dist`, and the edge functions of a configuration, which may be elsewhere (`scripts/synth.mjs`). */
export function readArtefacts(dist: string, edge = join(dist, 'edge')): Artefacts {
  const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'));
  const { handlers, stateMachines, tables, timeToLive, accessLogs } = json(dist, 'lambda', 'manifest.json');
  for (const [name, handler] of Object.entries<BuiltHandler>(handlers)) handler.folder = join(dist, 'lambda', name);
  const infra = createHash('sha256');
  for (const file of ['app.mjs', 'documents.cjs']) infra.update(readFileSync(join(dist, 'infra', file)));
  return {
    infraSha256: infra.digest('hex'),
    edge: json(edge, 'manifest.json'),
    edgeFunction: (file) => readFileSync(join(edge, file), 'utf8'),
    handlers,
    stateMachines,
    tables,
    timeToLive,
    accessLogs,
    console: join(dist, 'console'),
    documents: () => createRequire(import.meta.url)(resolve(dist, 'infra', 'documents.cjs')),
  };
}
