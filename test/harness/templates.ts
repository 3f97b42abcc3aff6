import { join } from 'node:path';
import type { CloudAssembly } from 'aws-cdk-lib/cx-api';
import * as v from 'valibot';
import { afterAll } from 'vitest';
import { ConfigurationSchema } from '../../config/schema.ts';
import type { Artefacts } from '../../infra/artefacts.ts';
import { portcullisApp } from '../../infra/portcullis-app.ts';
import { builtArtefacts } from './artefacts.ts';
import { removeDirectory, temporaryDirectory } from './stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
let assemblies = 0;

/** A resource of a template. */
export interface Resource {
  stack: string;
  id: string;
  Type: string;
  // biome-ignore lint/suspicious/noExplicitAny: templates have as many shapes as there are resources.
  Properties: any;
  DependsOn?: string[];
  DeletionPolicy?: string;
}

/** The templates of a configuration. */
export interface Templates {
  assembly: CloudAssembly;
  resources: Resource[];
  /** All of a type, like `AWS::S3::Bucket`. */
  of(type: string): Resource[];
  /** The one of a type whose id begins so. */
  one(type: string, id?: string): Resource;
}

/** Synthesises; throws when cdk-nag finds something that is not acknowledged. */
export function synthesise(configuration: object, artefacts: Artefacts = builtArtefacts()): Templates {
  const outdir = join(scratch, String(assemblies++));
  const assembly = portcullisApp(v.parse(ConfigurationSchema, configuration), artefacts, { outdir }).synth();
  const resources = assembly.stacks.flatMap(({ stackName, template }) =>
    Object.entries<Omit<Resource, 'stack' | 'id'>>(template.Resources ?? {}).map(([id, resource]) => ({
      ...resource,
      Properties: resource.Properties ?? {},
      stack: stackName,
      id,
    })),
  );
  const of = (type: string) => resources.filter(({ Type }) => Type === type);
  return {
    assembly,
    resources,
    of,
    one(type, id = '') {
      const [found, ...others] = of(type).filter((resource) => resource.id.startsWith(id));
      if (!found || others.length > 0) throw new Error(`${others.length + (found ? 1 : 0)} of ${type} ${id}`);
      return found;
    },
  };
}
