import { createHash } from 'node:crypto';
import { html, raw } from 'hono/html';
import type { ApiDocument, DocumentedContent, DocumentedOperation, JsonSchema } from './openapi.ts';

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#dce2ea, #29313d); --muted: light-dark(#566375, #98a5b6);
  --page: light-dark(#f3f5f8, #0d1117); --card: light-dark(#fff, #161b23); --text: light-dark(#18212c, #e4e9f0);
  --accent: light-dark(#1d4fb8, #8fb8ff); --mono: ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, monospace; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
h1 { margin: 0; } h2 { margin: 2rem 0 0.5rem; } h3 { margin: 0; font-size: 1.05rem; } h4 { margin: 1rem 0 0.25rem; }
code, pre { font-family: var(--mono); font-size: 0.875em; }
pre { margin: 0; padding: 0.75rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 0.4rem; background: var(--page); }
nav ul { padding-left: 1.2rem; } nav li { margin: 0.15rem 0; }
article { margin: 0.75rem 0; padding: 1rem; border: 1px solid var(--line); border-radius: 0.6rem; background: var(--card); }
.call { margin: 0.25rem 0 0.5rem; font-family: var(--mono); } .call b { color: var(--accent); }
.muted { color: var(--muted); }
dl { margin: 0; } dt { font-weight: 600; font-family: var(--mono); font-size: 0.875em; } dd { margin: 0 0 0.5rem 1rem; }
details { margin-top: 0.5rem; } summary { cursor: pointer; }
`;

/** What the page may do: show itself. No script, nothing from elsewhere, no frame (CSP level 3). */
export const DOCS_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

type Markup = ReturnType<typeof html>;

/** The OpenAPI document as a page to read: HTML and a style sheet. */
export function docsPage({ info, tags, paths, components }: ApiDocument): string {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const groups = tags.map(({ name }) => ({
    name,
    members: operations.filter(({ operation }) => operation.tags.includes(name)),
  }));
  const problem = components.schemas?.Problem as JsonSchema;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title}</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<header>
<h1>${info.title}</h1>
<p>${info.summary}</p>
<p>${prose(info.description)}</p>
<p class="muted">The same as OpenAPI 3.1: <a href="openapi.json">openapi.json</a></p>
</header>
<nav aria-label="Operations">
${groups.map(
  ({ name, members }) => html`<h4>${name}</h4>
<ul>${members.map(
    ({ method, path, operation }) =>
      html`<li><a href="#${operation.operationId}"><code>${method} ${path}</code></a> ${operation.summary}</li>`,
  )}</ul>`,
)}
</nav>
<main>
${groups.map(({ name, members }) => html`<section><h2>${name}</h2>${members.map(operationOf)}</section>`)}
<section><h2>Problems</h2><article><p>What every refusal says, as <code>application/problem+json</code>:</p>${fields(problem)}</article></section>
</main>
</body>
</html>
`;
  return String(page);
}

function operationOf({
  method,
  path,
  operation,
}: {
  method: string;
  path: string;
  operation: DocumentedOperation;
}): Markup {
  const { operationId, summary, description, security, parameters, requestBody, responses } = operation;
  const roles = security.flatMap(({ bearer = [] }) => bearer);
  const answers = Object.entries(responses).filter(([status]) => Number(status) < 400);
  const problems = Object.entries(responses).filter(([status]) => Number(status) >= 400);
  return html`<article id="${operationId}">
<h3>${summary}</h3>
<p class="call"><b>${method}</b> ${path}</p>
<p class="muted">${roles.length > 0 ? `Role: ${roles.join(' or ')}` : 'No authentication'}</p>
${description === undefined ? '' : html`<p>${prose(description)}</p>`}
${
  parameters.length === 0
    ? ''
    : html`<h4>Parameters</h4><dl>${parameters.map(
        ({ name, in: place, required, description = '', schema }) =>
          html`<dt>${name}</dt><dd>${prose(description)} <span class="muted">(${place}, ${typeOf(schema)}${required ? '' : ', optional'})</span></dd>`,
      )}</dl>`
}
${requestBody ? html`<h4>Body${requestBody.required ? '' : ' (may be left out)'}</h4>${contentOf(requestBody.content)}` : ''}
<h4>Answers</h4>
<dl>${answers.map(
    ([status, { description, content = {} }]) =>
      html`<dt>${status}</dt><dd>${prose(description)}${contentOf(content)}</dd>`,
  )}</dl>
${
  problems.length === 0
    ? ''
    : html`<h4>Problems</h4><dl>${problems.map(
        ([status, { description }]) =>
          html`<dt>${status}</dt><dd>${description.split('\n\n').map((line) => html`<div>${prose(line)}</div>`)}</dd>`,
      )}</dl>`
}
<details><summary>Example</summary><pre>${exampleRequest(method, path, operation)}</pre></details>
</article>`;
}

function contentOf(content: DocumentedContent): Markup[] {
  return Object.entries(content).map(
    ([
      mediaType,
      { schema, example },
    ]) => html`${mediaType === 'application/json' ? '' : html`<div><code>${mediaType}</code></div>`}
${schema ? fields(schema) : ''}
${example === undefined ? '' : html`<pre>${typeof example === 'string' ? example : JSON.stringify(example, null, 2)}</pre>`}`,
  );
}

/** The members of an object and of what is in it, by their paths: `sessions[].sessionId`. */
function fields(schema: JsonSchema): Markup | string {
  const rows = membersOf(schema, '');
  return rows.length === 0
    ? ''
    : html`<dl>${rows.map(
        ({ path, type, isRequired, description }) =>
          html`<dt>${path}</dt><dd><span class="muted">${type}${isRequired ? '' : ', optional'}</span> ${prose(description)}</dd>`,
      )}</dl>`;
}

interface Member {
  path: string;
  type: string;
  isRequired: boolean;
  description: string;
}

function membersOf(schema: JsonSchema, prefix: string): Member[] {
  const {
    properties = {},
    required = [],
    items,
  } = schema as {
    properties?: Record<string, JsonSchema>;
    required?: string[];
    items?: JsonSchema;
  };
  if (items) return membersOf(items, `${prefix}[]`);
  return Object.entries(properties).flatMap(([name, member]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const { description = '' } = member as { description?: string };
    return [
      { path, type: typeOf(member), isRequired: required.includes(name), description },
      ...membersOf(member, path),
    ];
  });
}

/** The type of a value with its bounds, in words. */
function typeOf(schema: JsonSchema): string {
  const {
    type,
    enum: values,
    const: value,
    anyOf,
    items,
  } = schema as {
    type?: string;
    enum?: unknown[];
    const?: unknown;
    anyOf?: JsonSchema[];
    items?: JsonSchema;
  };
  if (value !== undefined) return JSON.stringify(value);
  if (values) return values.map((each) => JSON.stringify(each)).join(' | ');
  if (anyOf) return anyOf.map(typeOf).join(' | ');
  if (items) return `array of ${typeOf(items)}`;
  return [type ?? 'any', ...boundsOf(schema)].join(', ');
}

/** What a value is held to, in words. */
function boundsOf(schema: JsonSchema): string[] {
  const range = (least: unknown, most: unknown, unit: string) => {
    if (least === undefined && most === undefined) return [];
    return [
      most === undefined
        ? `at least ${least}${unit}`
        : `${least ?? 'at most'}${least === undefined ? ' ' : ' to '}${most}${unit}`,
    ];
  };
  return [
    ...range(schema.minLength, schema.maxLength, ' characters'),
    ...range(schema.minimum, schema.maximum, ''),
    ...range(schema.minItems, schema.maxItems, ' items'),
    ...(schema.pattern === undefined ? [] : [`pattern ${schema.pattern}`]),
    ...(schema.default === undefined ? [] : [`${JSON.stringify(schema.default)} unless given`]),
  ];
}

/** A call that could be made like this with curl. */
function exampleRequest(method: string, path: string, operation: DocumentedOperation): string {
  const { parameters, requestBody, security } = operation;
  const filled = parameters
    .filter((parameter) => parameter.in === 'path')
    .reduce((text, { name, example }) => text.replace(`{${name}}`, encodeURIComponent(String(example))), path);
  const body = requestBody?.content['application/json']?.example;
  return [
    `curl${method === 'GET' ? '' : ` -X ${method}`} "$API${filled}"`,
    ...(security.length > 0 ? ['-H "authorization: Bearer $TOKEN"'] : []),
    ...(body === undefined ? [] : ["-H 'content-type: application/json'", `-d '${JSON.stringify(body)}'`]),
  ].join(' \\\n  ');
}

/** Text in which \`…\` is code. */
function prose(text: string): (Markup | string)[] {
  return text.split('`').map((part, i) => (i % 2 === 1 ? html`<code>${part}</code>` : part));
}
