/** raynb's own sign: one cell that fans out to three workers. Follows the theme's colours. */

import { LabIcon } from '@jupyterlab/ui-components';

const svgstr =
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
  '<g class="jp-icon3" stroke="#616161" stroke-width="1.6" fill="none"><path d="M8 12h8M7.5 10.5 16 5.5M7.5 13.5l8.5 5"/></g>' +
  '<g class="jp-icon3" fill="#616161"><rect x="2" y="9" width="6" height="6" rx="1.2"/>' +
  '<circle cx="19" cy="4.5" r="2.7"/><circle cx="19" cy="12" r="2.7"/><circle cx="19" cy="19.5" r="2.7"/></g></svg>';

export const icon = new LabIcon({ name: 'raynb:icon', svgstr });

/** The same as a picture with its own colour: among the launcher's notebooks a card shows a picture, or a letter. */
export const iconUrl = `data:image/svg+xml,${encodeURIComponent(svgstr.replace(/#616161/g, '#1976d2'))}`;
