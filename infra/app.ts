// The CDK app: `npm run synth`, or `npx cdk deploy --all`. Reads the configuration named in PORTCULLIS_CONFIG.
import { readConfiguration } from '../config/configuration.ts';
import { readArtefacts } from './artefacts.ts';
import { portcullisApp } from './portcullis-app.ts';

const { PORTCULLIS_CONFIG: path, PORTCULLIS_EDGE: edge } = process.env;
const { PORTCULLIS_ASSETS_BUCKET: bucket, PORTCULLIS_ASSETS_PREFIX: prefix = '' } = process.env;
const options = bucket === undefined ? {} : { assets: { bucket, prefix } };
portcullisApp(await readConfiguration(path), readArtefacts('dist', edge), options).synth();
