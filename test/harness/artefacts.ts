import { type Artefacts, readArtefacts } from '../../infra/artefacts.ts';
import { packagePath } from '../../local/package-root.ts';

/** What was built, as it is deployed. */
export function builtArtefacts(): Artefacts {
  return readArtefacts(packagePath('dist'));
}
