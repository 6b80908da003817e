/*
 * What nginx answers to a scraper that may ask: what was counted from its log, what programs on the host have left as files,
 * and its own connections. What is missing is left out, and says so by a value of 0 or by its absence.
 */
import fs from 'fs';

function gauge(name, help, value) {
    return '# HELP ' + name + ' ' + help + '\n# TYPE ' + name + ' gauge\n' + name + ' ' + value + '\n';
}

// Whole files: who writes them renames them into place.
function textfiles(r, directory) {
    try {
        return fs.readdirSync(directory).filter((name) => name.endsWith('.prom')).sort()
            .map((name) => fs.readFileSync(directory + '/' + name, 'utf8')).join('');
    } catch (error) {
        r.error('metrics go without what the host says: ' + error);
        return '';
    }
}

async function answer(r) {
    if (r.method !== 'GET' && r.method !== 'HEAD') {
        r.return(405);
        return;
    }
    const counted = await r.subrequest('/metrics/log');
    const variables = r.variables;
    const text = (counted.status === 200 ? counted.responseText : '') +
        gauge('drydock_log_reader_up', 'Whether what counts the requests from the log answers.', counted.status === 200 ? 1 : 0) +
        gauge('drydock_connections', 'Open connections of clients.', variables.connections_active) +
        gauge('drydock_requests_in_flight', 'Requests that are being received or answered, this one included.',
            Number(variables.connections_reading) + Number(variables.connections_writing)) +
        textfiles(r, variables.metrics_directory);
    r.headersOut['Content-Type'] = 'text/plain; version=0.0.4; charset=utf-8';
    r.headersOut['Cache-Control'] = 'no-store';
    r.return(200, text);
}

export default {answer};
