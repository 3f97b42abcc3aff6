import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { importJWK, SignJWT } from 'jose';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ISSUER } from '../../local/issuer.ts';
import { DETECTION_OPERATIONS } from '../../revocation/http/detection-operations.ts';
import { REVOCATION_OPERATIONS } from '../../revocation/http/operations.ts';
import { AUDIENCE } from '../../token-api/http/authorize.ts';
import type { ApiDocument, DocumentedOperation, Operation } from '../../token-api/http/openapi.ts';
import { KEY_OPERATIONS, SERVICE_OPERATIONS, VENDING_OPERATIONS } from '../../token-api/http/operations.ts';
import { type RunningStack, removeDirectory, startStack, temporaryDirectory } from '../harness/stack.ts';

const OPERATIONS: Record<string, Operation> = {
  ...VENDING_OPERATIONS,
  ...KEY_OPERATIONS,
  ...REVOCATION_OPERATIONS,
  ...DETECTION_OPERATIONS,
  ...SERVICE_OPERATIONS,
};

let data: string;
let stack: RunningStack;
let document: ApiDocument;
let operations: { name: string; method: string; path: string; operation: DocumentedOperation }[];

beforeAll(async () => {
  data = temporaryDirectory();
  // Detection runs when it is asked here, and would refuse a second run beside that of the clock.
  const config = join(data, 'portcullis.json');
  writeFileSync(config, JSON.stringify({ revocation: { detection: { everySeconds: 86_400 } } }));
  stack = await startStack(data, '--config', config);
  document = (await (await fetch(`${stack.api}/v1/openapi.json`)).json()) as ApiDocument;
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      operation,
    })),
  );
});
afterAll(async () => {
  await stack.stop();
  removeDirectory(data);
});

type Role = 'player' | 'backend' | 'security';
const rolesOf = ({ security }: DocumentedOperation) => security.flatMap(({ bearer = [] }) => bearer) as Role[];
interface ProblemSchema {
  required: string[];
  properties: Record<string, unknown>;
}
const isProblem = (answer: Response) => answer.headers.get('content-type') === 'application/problem+json';

describe('the document', () => {
  test('has every route of the API, and no other', () => {
    // A route without a description makes no document at all.
    expect(operations.map(({ name }) => name).toSorted()).toEqual(Object.keys(OPERATIONS).toSorted());
    expect(document.openapi).toBe('3.1.0');
  });

  test('says of each operation what it does, who may call it, what it takes and answers, and its problems', () => {
    const tags = document.tags.map(({ name }) => name);
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(operations.length);
    for (const { name, method, path, operation } of operations) {
      const { summary, responses, parameters, requestBody } = operation;
      expect(summary).toMatch(/^[A-Z]/);
      for (const tag of operation.tags) expect(tags).toContain(tag);
      const isOpen = operation.tags.includes('Service');
      expect([name, rolesOf(operation).length > 0]).toEqual([name, !isOpen]);
      expect(Object.keys(responses).some((status) => status.startsWith('2'))).toBe(true);
      if (!isOpen) expect(Object.keys(responses)).toEqual(expect.arrayContaining(['401', '403', '500']));
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter);
      const described = parameters.filter((parameter) => parameter.in === 'path');
      expect(described.map((parameter) => parameter.name)).toEqual(inPath);
      for (const parameter of parameters) {
        expect([name, parameter.name, parameter.description]).toEqual([name, parameter.name, expect.any(String)]);
        expect(parameter).toHaveProperty('example');
        if (parameter.in === 'path') expect(parameter.required).toBe(true);
      }
      expect([name, method === 'POST' && !isOpen]).toEqual([
        name,
        parameters.some((parameter) => parameter.name === 'Idempotency-Key'),
      ]);
      if (requestBody) expect(requestBody.content['application/json']).toHaveProperty('example');
      if (method === 'GET') expect(requestBody).toBeUndefined();
    }
  });

  test('refers to nothing that is not in it', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, pointer]) => pointer);
    expect(references.length).toBeGreaterThan(0);
    for (const pointer of references) {
      const found = pointer?.split('/').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
      expect([pointer, found]).toEqual([pointer, expect.anything()]);
    }
  });

  test('holds examples that its own schemas take', () => {
    for (const [name, { answers, body }] of Object.entries(OPERATIONS)) {
      for (const { schema, example } of Object.values(answers)) {
        if (schema && example !== undefined) expect([name, v.parse(schema, example)]).toEqual([name, example]);
      }
      if (body?.schema) expect([name, v.is(body.schema, body.example)]).toEqual([name, true]);
    }
  });

  test('needs no authentication, nor does the page', async () => {
    for (const path of ['/v1/openapi.json', '/v1/docs']) {
      const answer = await fetch(`${stack.edge}${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
    }
  });
});

describe('the API does as the document says', () => {
  /** Calls an operation with the example parameters and body of the document, except what is `changed`. */
  function callExample(
    name: string,
    role: Role | undefined,
    changed: { id?: string; query?: string; body?: unknown } = {},
  ): Promise<Response> {
    const { method, path, operation } = operations.find((each) => each.name === name) ?? expect.fail(name);
    const filled = operation.parameters
      .filter((parameter) => parameter.in === 'path')
      .reduce((text, parameter) => text.replace(`{${parameter.name}}`, changed.id ?? String(parameter.example)), path);
    const body = changed.body ?? operation.requestBody?.content['application/json']?.example;
    return fetch(`${stack.api}${filled}${changed.query ?? ''}`, {
      method,
      headers: { 'content-type': 'application/json', ...(role && { authorization: `Bearer ${stack.tokens[role]}` }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  /** Holds an answer to what the document says of it: status, type, members, or the code of its problem. */
  async function expectAsDeclared(name: string, answer: Response): Promise<void> {
    const { operation } = operations.find((each) => each.name === name) ?? expect.fail(name);
    const declared = operation.responses[answer.status];
    expect([name, answer.status, declared]).toEqual([name, answer.status, expect.anything()]);
    for (const header of Object.keys(declared?.headers ?? {})) {
      if (header !== 'idempotent-replayed')
        expect([name, header, answer.headers.has(header)]).toEqual([name, header, true]);
    }
    const type = answer.headers.get('content-type')?.split(';')[0];
    expect([name, Object.keys(declared?.content ?? {})]).toEqual([name, type === undefined ? [] : [type]]);
    if (type === 'text/event-stream') return answer.body?.cancel();
    const text = await answer.text();
    if (isProblem(answer)) {
      const problem = JSON.parse(text);
      const { required, properties } = (document.components.schemas as { Problem: ProblemSchema }).Problem;
      expect(Object.keys(problem)).toEqual(expect.arrayContaining(required));
      expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.keys(problem)));
      expect([name, operation['x-problem-codes']]).toEqual([name, expect.arrayContaining([problem.code])]);
      const schema = JSON.stringify(declared?.content?.['application/problem+json']?.schema);
      expect(schema).toContain(`"${problem.code}"`);
      return;
    }
    const schema = OPERATIONS[name]?.answers[answer.status]?.schema;
    // A schema leaves out members that it does not know: what comes through whole is as declared.
    if (schema && type === 'application/json') {
      const answered = JSON.parse(text);
      expect({ name, ...(v.parse(schema, answered) as object) }).toMatchObject({ name, ...answered });
    }
  }

  test('each example call is answered as declared, with success', async () => {
    const called = new Set<string>();
    const playback = (await (await callExample('POST /v1/playback', 'player')).json()) as { playbackUrl: string };
    await fetch(playback.playbackUrl);
    // A token that has not aged is not renewed.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const presented = { token: playback.playbackUrl };
    const { keys } = (await (await callExample('GET /v1/keys', 'security')).json()) as { keys: { kid: string }[] };
    const bodies: Record<string, unknown> = {
      'POST /v1/tokens/renewal': presented,
      'POST /v1/tokens/handoff': { ...presented, viewer: { userAgent: 'TV/1.0' } },
      'POST /v1/keys/rotation': { compromised: keys[0]?.kid, dryRun: true },
    };
    // The policy of the examples has to be there before it is shown.
    for (const name of ['PUT /v1/policies/{id}', ...Object.keys(OPERATIONS)]) {
      const { operation } = operations.find((each) => each.name === name) ?? expect.fail(name);
      const answer = await callExample(name, rolesOf(operation)[0], { body: bodies[name] });
      expect([name, answer.status < 300 || (await answer.clone().text())]).toEqual([name, true]);
      await expectAsDeclared(name, answer);
      called.add(name);
    }
    expect(called.size).toBe(operations.length);
  });

  test('each refuses who is nobody, or has another role, as declared', async () => {
    for (const { name, operation } of operations) {
      const roles = rolesOf(operation);
      if (roles.length === 0) continue;
      const anonymous = await callExample(name, undefined);
      expect([name, anonymous.status]).toEqual([name, 401]);
      await expectAsDeclared(name, anonymous);
      for (const role of ['player', 'backend', 'security'] as const) {
        if (roles.includes(role)) continue;
        const refused = await callExample(name, role);
        expect([name, role, refused.status]).toEqual([name, role, 403]);
        await expectAsDeclared(name, refused);
      }
    }
  });

  test('each that takes a body refuses another one as declared', async () => {
    for (const { name, operation } of operations) {
      if (!operation.requestBody) continue;
      for (const body of [{ unknown: 1 }, [1], 'text', { padding: 'x'.repeat(70_000) }]) {
        const refused = await callExample(name, rolesOf(operation)[0], { body });
        expect([name, [400, 413, 422]]).toEqual([name, expect.arrayContaining([refused.status])]);
        await expectAsDeclared(name, refused);
      }
    }
  });

  test.each([
    ['POST /v1/playback', 'player', { body: { asset: 'none' } }, 404, 'ERR_ASSET_UNKNOWN'],
    ['POST /v1/playback', 'player', { body: { asset: '.hidden' } }, 400, 'ERR_BODY_INVALID'],
    ['POST /v1/tokens', 'backend', { body: { asset: 'aurora', viewer: { ip: '7' } } }, 400, 'ERR_BODY_INVALID'],
    ['POST /v1/tokens/renewal', 'player', { body: { token: 'no-token' } }, 401, 'ERR_TOKEN_REFUSED'],
    ['GET /v1/assets', 'player', { query: '?limit=0' }, 400, 'ERR_QUERY_INVALID'],
    ['GET /v1/policies', 'backend', { query: '?cursor=x' }, 400, 'ERR_CURSOR_INVALID'],
    ['GET /v1/assets/{id}', 'player', { id: '.hidden' }, 400, 'ERR_ID_INVALID'],
    ['GET /v1/policies/{id}', 'backend', { id: 'none' }, 404, 'ERR_POLICY_UNKNOWN'],
    ['PUT /v1/assets/{id}', 'backend', { body: { path: '/x/y', policy: 'none' } }, 422, 'ERR_POLICY_UNKNOWN'],
    ['PUT /v1/policies/{id}', 'backend', { body: { lifetime: 'soon' } }, 422, 'ERR_POLICY_LIFETIME'],
    ['DELETE /v1/policies/{id}', 'backend', { id: 'vod-2h' }, 409, 'ERR_POLICY_IN_USE'],
    ['POST /v1/keys/rotation', 'security', { body: { compromised: 'none', dryRun: true } }, 404, 'ERR_KEY_UNKNOWN'],
    ['POST /v1/keys/rotation', 'security', { body: { dryRun: true } }, 400, 'ERR_BODY_INVALID'],
    ['DELETE /v1/sessions/{id}/revocation', 'security', { id: 'NeverRevoked1' }, 404, 'ERR_NOT_REVOKED'],
    ['DELETE /v1/subjects/{id}/revocation', 'security', { id: 'x'.repeat(129) }, 400, 'ERR_SUBJECT_INVALID'],
    ['GET /v1/sessions/suspicious', 'security', { query: '?limit=1001' }, 400, 'ERR_QUERY_INVALID'],
    ['GET /v1/sessions/suspicious', 'security', { query: '?cursor=x' }, 400, 'ERR_CURSOR_INVALID'],
    ['DELETE /v1/assets/{id}/revocation', 'security', { id: 'x'.repeat(129) }, 400, 'ERR_ASSET_ID_INVALID'],
    ['DELETE /v1/assets/{id}/blocks', 'security', { id: 'never-blocked' }, 404, 'ERR_NOT_BLOCKED'],
    ['PUT /v1/sessions/cutoff', 'security', { body: { before: 4102444800 } }, 422, 'ERR_CUTOFF_FUTURE'],
    ['GET /v1/revocations', 'security', { query: '?kind=key' }, 400, 'ERR_QUERY_INVALID'],
    ['GET /v1/revocations', 'security', { query: '?cursor=x' }, 400, 'ERR_CURSOR_INVALID'],
    ['PUT /v1/edge/modes', 'security', { body: { prefix: '/x', mode: 'log' } }, 422, 'ERR_STORE_COMMAND'],
  ] as const)('%s by %s with %j is %i %s', async (name, role, changed, status, code) => {
    const refused = await callExample(name, role, changed);
    expect([refused.status, (await refused.clone().json()).code]).toEqual([status, code]);
    await expectAsDeclared(name, refused);
  });

  test('a caller whose subject is too long for a token is told so', async () => {
    const key = await importJWK(JSON.parse(readFileSync(join(data, 'issuer.json'), 'utf8')), 'ES256');
    const bearer = (subject: string) =>
      new SignJWT({ roles: ['player'] })
        .setProtectedHeader({ alg: 'ES256', kid: 'local' })
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setSubject(subject)
        .setExpirationTime('1m')
        .sign(key);
    const play = async (subject: string) =>
      fetch(`${stack.api}/v1/playback`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${await bearer(subject)}` },
        body: '{"asset":"harbour"}',
      });
    expect((await play('x'.repeat(128))).status).toBe(200);
    const refused = await play('x'.repeat(129));
    expect([refused.status, (await refused.clone().json()).code]).toEqual([422, 'ERR_VIEWER_INVALID']);
    await expectAsDeclared('POST /v1/playback', refused);
  });
});

describe('the page', () => {
  test('shows every operation, runs no script and fetches nothing', async () => {
    const answer = await fetch(`${stack.api}/v1/docs`);
    expect(answer.headers.get('content-type')).toMatch('text/html');
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[\w+/=]+'; /);
    expect(policy).not.toMatch(/script|unsafe|http/);
    const page = await answer.text();
    expect(page).not.toMatch(/<script|<link|<img|<iframe|javascript:| on\w+=| style=|@import|url\(/i);
    for (const { operation } of operations) {
      expect(page).toContain(`id="${operation.operationId}"`);
      expect(page).toContain(`href="#${operation.operationId}"`);
      for (const code of operation['x-problem-codes']) expect(page).toContain(code);
    }
  });
});
