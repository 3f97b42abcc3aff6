import {
  DetectionResponse,
  LatestDetectionResponse,
  StartedDetectionResponse,
  SuspiciousSessionsResponse,
} from './detection-routes.ts';

const EXAMPLE_SUSPICIOUS = {
  sessionId: 'AbCdEf012345',
  score: 82.5,
  verdict: 'auto',
  reasons: [
    'as much as 2.7 viewers fetch at once, over 7 minutes',
    'these viewers are with 3 network operators',
    '3 countries in the same minute',
  ],
  title: 'aurora',
  firstSeen: 1795345200,
  lastSeen: 1795345620,
  detectedAt: 1795345680,
  revoked: true,
  source: 'auto',
  features: {
    sessionId: 'AbCdEf012345',
    title: 'aurora',
    firstSeen: 1795345200,
    lastSeen: 1795345620,
    requests: 188,
    activeMinutes: 8,
    identities: 3,
    networks: 3,
    asns: 3,
    countries: 3,
    userAgents: 2,
    referers: 1,
    concurrentIdentities: 3,
    concurrentMinutes: 7,
    handOffs: 0,
    concurrentCountries: 3,
    concurrentEdgeLocations: 2,
    segments: 60,
    segmentRequests: 158,
    sharedSegments: 41,
    sharedRatio: 0.683,
    refetchRatio: 0.01,
    rateOverMedian: 2.9,
    segmentSeconds: 4,
    mediaSpeed: 1.1,
    fastMinutes: 1,
    concurrentSpeed: 2.7,
    playheadDivergence: 24,
    divergentMinutes: 0,
    hostingRatio: 0,
    edgeLocations: 2,
  },
  timeline: [
    {
      label: '203.0.113.0/24, AS3320, DE',
      minutes: [
        [1795345200, 14],
        [1795345260, 15],
      ],
    },
    { label: '198.51.100.0/24, AS3215, FR', minutes: [[1795345260, 12]] },
  ],
} as const;

const EXAMPLE_RUN = {
  ranAt: 1795345680,
  checkedAt: 1795345680,
  mode: 'enforce',
  objects: 1,
  rows: 24310,
  sessionCount: 412,
  flagged: 3,
  auto: 1,
  reviewScore: 30,
  autoScore: 60,
  revoked: 1,
  odd: 0,
  refused: [],
} as const;

/** The operations of detection. */
export const DETECTION_OPERATIONS = {
  'GET /v1/sessions/suspicious': {
    tag: 'Detection',
    summary: 'List the suspicious sessions',
    description: `What detection found in the last seven days, the highest score first, with the reasons in words and who fetched when.
\`source\` says who revoked it, \`restored\` that a person took that back.`,
    parameters: {
      limit: { description: 'Entries on a page, 1 to 1000; 100 unless given.', example: '100' },
      cursor: {
        description: '`next` of the page before; none for the first page.',
        example: 'WyJzdXNwaWNpb3VzIix7fV0',
      },
    },
    answers: {
      200: {
        description: 'A page of them.',
        schema: SuspiciousSessionsResponse,
        example: { sessions: [EXAMPLE_SUSPICIOUS] },
      },
    },
    problems: ['ERR_QUERY_INVALID', 'ERR_CURSOR_INVALID', 'ERR_DATABASE_THROTTLED'],
  },
  'POST /v1/detections': {
    tag: 'Detection',
    summary: 'Run detection now',
    description: `Reads the log objects that no run has dealt with, and answers what it found. Does the same as the scheduled run, and
never at the same time as another. A run that takes long is answered with 202 and goes on.`,
    answers: {
      200: { description: 'What the run did.', schema: DetectionResponse, example: EXAMPLE_RUN },
      202: {
        description: `The run goes on. Ask \`GET /v1/detections/latest\` until its \`checkedAt\` is not before \`startedAt\`; when nothing is
running and it still is, the run failed.`,
        schema: StartedDetectionResponse,
        example: { started: true, startedAt: 1795345680 },
      },
    },
    problems: [
      'ERR_DETECTION_OFF',
      'ERR_DETECTION_RUNNING',
      'ERR_DETECTION_LOGS',
      'ERR_DETECTION_QUERY',
      'ERR_DETECTION_ACCESS',
      'ERR_DETECTION_SETUP',
      'ERR_DATABASE_THROTTLED',
    ],
  },
  'GET /v1/detections/latest': {
    tag: 'Detection',
    summary: 'What the last run of detection did',
    description: `The last run that found something new in the logs; \`checkedAt\` is when detection last looked. So an alarm stands until a
run that read something has none.`,
    answers: {
      200: {
        description: 'What it did.',
        schema: LatestDetectionResponse,
        example: { ...EXAMPLE_RUN, running: false },
      },
    },
    problems: ['ERR_DETECTION_NONE', 'ERR_DETECTION_RUNNING'],
  },
} as const;
