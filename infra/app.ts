// The CDK app: `npm run synth`, or `npx cdk deploy --all`. Reads the configuration named in PORTCULLIS_CONFIG.
import { readConfiguration } from '../config/configuration.ts';
import { readArtefacts } from './artefacts.ts';
import { portcullisApp } from './portcullis-app.ts';

const { PORTCULLIS_CONFIG: path, PORTCULLIS_DIST: dist = 'dist', PORTCULLIS_EDGE: edge } = process.env;
portcullisApp(await readConfiguration(path), readArtefacts(dist, edge)).synth();
