// npm run up: installs, builds and starts the local stack, in one process so that Ctrl-C reaches it.
import { ensureBuild, ensurePackages, ensurePrograms } from './setup.mjs';

ensurePackages();
// For the title, which is rendered at first start; without them it is served as it was committed.
if (!process.argv.includes('--no-render')) ensurePrograms(['ffmpeg', 'bwrap']);
await ensureBuild();
process.argv.splice(2, 0, 'up');
await import('../dist/lib/cli/portcullis.js');
