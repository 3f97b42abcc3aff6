// npm run up: installs, builds and starts the local stack, in one process so that Ctrl-C reaches it.
import { ensureBuild, ensurePackages } from './setup.mjs';

ensurePackages();
await ensureBuild();
process.argv.splice(2, 0, 'up');
await import('../dist/lib/cli/portcullis.js');
