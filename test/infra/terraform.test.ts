import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parse } from '@cdktn/hcl2json';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { afterAll, describe, expect, test } from 'vitest';
import { readArtefacts } from '../../infra/artefacts.ts';
import { EdgeStack } from '../../infra/stacks/edge-stack.ts';
import { packagePath } from '../../local/package-root.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

type Tree = { [name: string]: unknown };
const hcl = async (file: string) => {
  const path = packagePath('terraform', file);
  return (await parse(basename(path), readFileSync(path, 'utf8'))) as Tree;
};
const [main, variables, outputs, versions] = await Promise.all(
  ['main.tf', 'variables.tf', 'outputs.tf', 'versions.tf'].map(hcl),
);
const resources = main?.resource as Record<string, Record<string, [Tree]>>;
const resource = (type: string, name: string): Tree => resources[type]?.[name]?.[0] ?? {};

const outdir = temporaryDirectory();
afterAll(() => removeDirectory(outdir));
const artefacts = readArtefacts(packagePath('dist'));
const app = new App({ outdir: join(outdir, 'cdk.out'), analyticsReporting: false });
const template = Template.fromStack(new EdgeStack(app, 'portcullis-edge', { env: { region: 'us-east-1' }, artefacts }));
/** The properties of the resource of a type in the CDK template; undefined when it has none of this name. */
const properties = (type: string, name: string): Tree | undefined => {
  const found = Object.values(template.findResources(type)).map(({ Properties }) => Properties as Tree);
  return found.find((all) => JSON.stringify(all).includes(`"Name":"${name}"`));
};

// biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of Terraform.
const STORE_ARN = '${aws_cloudfront_key_value_store.edge.arn}';
/** What the expressions of the module stand for; any other fails. */
const VALUES: Record<string, unknown> = {
  '${local.manifest.generatedHeaders}': artefacts.edge.generatedHeaders,
  '${local.manifest.settings.allowedOrigins}': artefacts.edge.settings.allowedOrigins,
  '${local.manifest.runtime}': artefacts.edge.runtime,
  '${local.code}': artefacts.edgeFunction('viewer-request.js'),
};
const value = (expression: unknown): unknown => {
  if (typeof expression !== 'string' || !expression.includes('${')) return expression;
  if (!Object.hasOwn(VALUES, expression)) throw new Error(`an expression that the test does not know: ${expression}`);
  return VALUES[expression];
};

/** Both spellings of a tree as one: `min_ttl` and `MinTTL`, blocks and objects, lists within `items` and without. */
function common(tree: unknown): unknown {
  if (Array.isArray(tree)) return tree.length === 1 && typeof tree[0] === 'object' ? common(tree[0]) : tree.map(common);
  if (typeof tree !== 'object' || tree === null) return value(tree);
  const entries = Object.entries(tree)
    .filter(([name]) => name !== 'lifecycle')
    .map(([name, inner]): [string, unknown] => [name.replaceAll('_', '').toLowerCase(), common(inner)]);
  const [[first, only] = [], ...others] = entries;
  return first === 'items' && others.length === 0 ? only : Object.fromEntries(entries);
}

describe('the Terraform module is what the CDK template is', () => {
  test('function: name, runtime, code, store', () => {
    const { key_value_store_associations: stores, ...ours } = resource('aws_cloudfront_function', 'viewer_request');
    const theirs = properties('AWS::CloudFront::Function', 'portcullis-viewer-request') ?? {};
    const { Runtime, KeyValueStoreAssociations } = theirs.FunctionConfig as Tree;
    expect(common(ours)).toMatchObject({
      name: theirs.Name,
      code: theirs.FunctionCode,
      runtime: Runtime,
      publish: theirs.AutoPublish,
    });
    expect(KeyValueStoreAssociations).toHaveLength(1);
    expect(stores).toEqual([STORE_ARN]);
  });

  test('KeyValueStore', () => {
    const theirs = properties('AWS::CloudFront::KeyValueStore', 'portcullis');
    expect(common(resource('aws_cloudfront_key_value_store', 'edge'))).toEqual(common(theirs));
  });

  describe.each([
    ['cache_policy', 'CachePolicy'],
    ['origin_request_policy', 'OriginRequestPolicy'],
    ['response_headers_policy', 'ResponseHeadersPolicy'],
  ])('%s', (terraform, cdk) => {
    const theirs = properties(`AWS::CloudFront::${cdk}`, 'portcullis-media');
    test.skipIf(!theirs)('all of it', () => {
      expect(common(resource(`aws_cloudfront_${terraform}`, 'media'))).toEqual(common(theirs?.[`${cdk}Config`]));
    });
  });
});

test('what is not tested is not deployed: the code has to be that of the manifest', () => {
  const [lifecycle] = resource('aws_cloudfront_function', 'viewer_request').lifecycle as [Tree];
  expect(JSON.stringify(lifecycle)).toContain('sha256(local.code) == local.manifest.functions');
});

test('what lives in the store is never destroyed, nor known to Terraform', () => {
  expect(resource('aws_cloudfront_key_value_store', 'edge').lifecycle).toEqual([{ prevent_destroy: true }]);
  expect(Object.keys(resources)).not.toContain('aws_cloudfrontkeyvaluestore_key');
  expect(JSON.stringify([main, outputs])).not.toMatch(/embedded|KEYS|secret/);
});

test('every output and variable says what it is', () => {
  const described = { ...(variables?.variable as Tree), ...(outputs?.output as Tree) };
  for (const [name, [block]] of Object.entries(described as Record<string, [Tree]>)) {
    expect([name, block.description]).toEqual([name, expect.stringMatching(/\.$/)]);
  }
  expect(Object.keys(outputs?.output as Tree).sort()).toEqual([
    'cache_policy_id',
    'function_arn',
    'key_value_store_arn',
    'origin_request_policy_id',
    'response_headers_policy_id',
  ]);
  expect(JSON.stringify(versions)).toContain('hashicorp/aws');
});

test('what is no HCL is noticed', async () => {
  await expect(parse('broken.tf', 'resource "a" "b" {')).rejects.toThrow();
});
