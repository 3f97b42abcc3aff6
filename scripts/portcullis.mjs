// npm run -s portcullis -- …: the command from a clone, which is installed and built first when it has to be.
import { ensureBuild, ensurePackages } from './setup.mjs';

ensurePackages();
await ensureBuild();
await import('../dist/lib/cli/portcullis.js');
