import type { Random } from './random.ts';

/** What plays: the program names itself, and comes from a page or not. */
export interface Device {
  kind: 'phone' | 'desktop' | 'television' | 'program';
  userAgent: string;
  /** Page that the player is on; '' for applications. */
  referer: string;
}

const PAGE = 'https://watch.example.com/';
const CHROME = 'AppleWebKit/537.36 (KHTML, like Gecko) Chrome';
const iphone = (version: string) => `AppleCoreMedia/1.0.0.${version} (iPhone; U; CPU OS 26_1 like Mac OS X; en_us)`;

const row = (kind: Device['kind'], weight: number, userAgent: string, referer = '') =>
  [{ kind, userAgent, referer }, weight] as const;

/** With their weights. Most people have the newest version of one of a few programs. */
const DEVICES = [
  row('phone', 10, iphone('23B85')),
  row('phone', 3, iphone('22H20')),
  row('phone', 8, `Mozilla/5.0 (Linux; Android 10; K) ${CHROME}/142.0.0.0 Mobile Safari/537.36`, PAGE),
  row('phone', 3, `Mozilla/5.0 (Linux; Android 10; K) ${CHROME}/141.0.0.0 Mobile Safari/537.36`, PAGE),
  row('phone', 5, 'ExampleTV/8.14 (Linux;Android 16) AndroidXMedia3/1.8.0'),
  row('phone', 3, 'ExampleTV/8.13 (Linux;Android 15) AndroidXMedia3/1.8.0'),
  row('desktop', 9, `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME}/142.0.0.0 Safari/537.36`, PAGE),
  row('desktop', 3, `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME}/142.0.0.0 Safari/537.36 Edg/142.0.0.0`, PAGE),
  row('desktop', 4, `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${CHROME}/142.0.0.0 Safari/537.36`, PAGE),
  row(
    'desktop',
    4,
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15',
    PAGE,
  ),
  row('desktop', 3, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0', PAGE),
  row('television', 8, 'Roku/DVP-15.0 (15.0.4.5872-AJ)'),
  row('television', 6, 'ExampleTV/8.14 (Linux;Android 14; AFTKA) AndroidXMedia3/1.8.0'),
  row('television', 6, `Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) ${CHROME}/108.0.5359.1 TV Safari/537.36`),
  row('television', 5, `Mozilla/5.0 (Web0S; Linux/SmartTV) ${CHROME}/120.0.6099.270 Safari/537.36`),
  row('television', 5, 'AppleCoreMedia/1.0.0.23J581 (Apple TV; U; CPU OS 26_1 like Mac OS X; en_us)'),
  row('television', 4, `Mozilla/5.0 (X11; Linux armv7l) ${CHROME}/134.0.0.0 Safari/537.36 CrKey/1.56.500000`),
];

/** What downloads and sends on. Many pass for a browser. */
const PROGRAMS = [
  row('program', 3, 'Lavf/61.7.100'),
  row('program', 2, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.6778.85 Safari/537.36'),
  row('program', 4, `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME}/142.0.0.0 Safari/537.36`),
];

/** A device, of a kind if it matters. */
export function drawDevice(random: Random, kind?: Exclude<Device['kind'], 'program'>): Device {
  return random.pickWeighted(DEVICES.filter(([device]) => kind === undefined || device.kind === kind));
}

export function drawProgram(random: Random): Device {
  return random.pickWeighted(PROGRAMS);
}
