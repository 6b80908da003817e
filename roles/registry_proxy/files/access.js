/*
 * Who may do what: the decision on every request below /v2/, which nginx asks for (see nginx.conf).
 *
 * A request is read by a strict grammar of the registry's API, and only what was read is passed on. So nginx and the registry
 * cannot disagree on which repository is meant. Whatever the grammar does not know, and whatever goes wrong here, is refused.
 *
 * The functions above `request()` take values and return values; the others know nginx.
 * Each request makes a new copy of this program, and a call of it costs more than it does: so nginx makes one, `judge()`.
 * The language is what njs 0.7.9 understands: https://nginx.org/en/docs/njs/compatibility.html
 */

import crypto from 'crypto';
import fs from 'fs';

// ---- The grammar: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints

// Literals, since anything else would be compiled anew for each request.
const NAME = /^[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*)*$/;
const LONGEST_NAME = 255;
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const UPLOAD = /^[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}$/;

function isDigest(text) {
    return DIGEST.test(text);
}

function isReference(text) {
    return TAG.test(text) || DIGEST.test(text);
}

function isUpload(text) {
    return UPLOAD.test(text);
}

// One parameter: a plain key, and a value that no reader can take for two. Go reads `;` in ways that changed with its version.
const PARAMETER = /^([A-Za-z0-9_.~-]+)=((?:[A-Za-z0-9_.~:\/@!*,=+-]|%[0-9A-Fa-f]{2})*)$/;

// Each path is a repository with one of these ends, which differ in their last parts, so that at most one of them fits.
// `rights` names the right that a method takes, `parameters` what is passed on; any other parameter is left out.
const ROUTES = [
    {
        end: ['manifests', isReference],
        rights: {GET: 'pull', HEAD: 'pull', PUT: 'create', DELETE: 'admin'},
        parameters: [],
        manifest: true,
    },
    {
        end: ['blobs', isDigest],
        rights: {GET: 'pull', HEAD: 'pull', DELETE: 'admin'},
        parameters: [],
        blob: true,
    },
    {
        end: ['blobs', 'uploads', ''],
        rights: {POST: 'create'},
        parameters: ['mount', 'from', 'digest', 'digest-algorithm'],
        upload: true,
    },
    {
        end: ['blobs', 'uploads', isUpload],
        rights: {GET: 'create', HEAD: 'create', PATCH: 'create', PUT: 'create', DELETE: 'create'},
        parameters: ['_state', 'digest'],
        upload: true,
    },
    {
        end: ['tags', 'list'],
        rights: {GET: 'pull', HEAD: 'pull'},
        parameters: ['n', 'last'],
    },
    {
        end: ['referrers', isDigest],
        rights: {GET: 'pull', HEAD: 'pull'},
        parameters: ['artifactType', 'n', 'last'],
    },
];
// The others are of no repository.
const ROOT = {
    rights: {GET: 'login', HEAD: 'login'},
    parameters: [],
    root: true,
};
const CATALOG = {
    rights: {GET: 'catalog', HEAD: 'catalog'},
    parameters: ['n', 'last'],
};

// The metrics are of the registry's host.
const METRICS = {
    rights: {GET: 'metrics', HEAD: 'metrics'},
    parameters: [],
};
// What nginx answers itself: which repositories the user may pull; how it is, for those who run it.
const LIST = {
    rights: {GET: 'login', HEAD: 'login'},
    parameters: ['n', 'last', 'search'],
    answer: 'list',
};
const STATE = {
    rights: {GET: 'operate', HEAD: 'operate'},
    parameters: [],
    answer: 'state',
};
// The specification leaves names that begin with `_` to extensions; no repository has one.
const ALONE = {
    '/v2/': ROOT,
    '/v2/_catalog': CATALOG,
    '/v2/_drydock/repositories/list': LIST,
    '/v2/_drydock/registry/state': STATE,
    '/metrics': METRICS,
};

function isName(text) {
    return text.length <= LONGEST_NAME && NAME.test(text);
}

function endsSo(parts, end) {
    const begin = parts.length - end.length;
    return begin > 0 && end.every((one, i) => typeof one === 'string' ? one === parts[begin + i] : one(parts[begin + i]));
}

// The route, the repository and the path of a raw request URI, or null where the API has no such path.
function readPath(uri) {
    // Some clients write a digest's colon so. Nothing else may be encoded: no pattern above knows `%`.
    const path = uri.split('?')[0].replace(/%3A/gi, ':');
    if (has(ALONE, path)) {
        return {route: ALONE[path], path: path};
    }
    const parts = path.startsWith('/v2/') ? path.slice('/v2/'.length).split('/') : [];
    const route = ROUTES.find((one) => endsSo(parts, one.end));
    const repository = route ? parts.slice(0, -route.end.length).join('/') : '';
    return isName(repository) ? {route: route, repository: repository, path: path} : null;
}

// The parameters that the route knows, by name, in the form in which they came; null where the query is malformed or ambiguous.
function readParameters(uri, known) {
    const parameters = {};
    const mark = uri.indexOf('?');
    const parts = mark < 0 ? [] : uri.slice(mark + 1).split('&');
    for (let i = 0; i < parts.length; i++) {
        if (parts[i] === '') {
            continue;
        }
        const found = PARAMETER.exec(parts[i]);
        if (!found) {
            return null;
        }
        if (known.indexOf(found[1]) >= 0) {
            // Of two, the registry takes the first: what was judged must be what it takes.
            if (has(parameters, found[1])) {
                return null;
            }
            parameters[found[1]] = found[2];
        }
    }
    return parameters;
}

function writeQuery(parameters) {
    const names = Object.keys(parameters);
    return names.length ? '?' + names.map((name) => name + '=' + parameters[name]).join('&') : '';
}

// Own properties only: a user may be called `constructor`.
function has(object, key) {
    return Object.prototype.hasOwnProperty.call(object, key);
}

// ---- The rules: access.json

// Each includes those before it, but that `metrics` is for these alone, and for admins of everything.
const RANK = {metrics: 0, pull: 1, create: 2, push: 3, admin: 4};

// `*` stands for anything within one part of a name, `**` for one or more parts, and alone for every name.
function matches(pattern, repository) {
    // The usual ones, for which nothing has to be compiled.
    if (pattern === '**' || pattern === repository) {
        return true;
    }
    if (pattern.indexOf('*') < 0) {
        return false;
    }
    const parts = pattern.split('/').map((part) => part === '**' ? '.+' : part.replace(/\./g, '\\.').replace(/\*+/g, '[^/]*'));
    return new RegExp('^' + parts.join('/') + '$').test(repository);
}

// The arrays of a preloaded object have elements and a length, but no methods.
function anyOf(array, test) {
    for (let i = 0; i < array.length; i++) {
        if (test(array[i])) {
            return true;
        }
    }
    return false;
}

function listed(repositories, repository) {
    return anyOf(repositories, (pattern) => matches(pattern, repository));
}

function isObject(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// The patterns of an entry of the rules. A text has elements and a length, too: `"**"` would be read as two patterns.
function patterns(entry) {
    if (!isObject(entry) || !Array.isArray(entry.repositories) || anyOf(entry.repositories, (one) => typeof one !== 'string')) {
        throw new Error('access.json has an entry without a list of repositories');
    }
    return entry.repositories;
}

// What access.json holds, where it is what it should be. Of the users, only the one who asks is looked at later.
function checked(document) {
    if (!isObject(document) || !isObject(document.users) || document.anonymous === undefined) {
        throw new Error('access.json has no users, or does not say what everybody may pull');
    }
    if (document.anonymous !== null) {
        patterns(document.anonymous);
    }
    return document;
}

function anonymousMay(rules, right, repository) {
    return right === 'pull' && !!rules && rules.anonymous !== null && listed(rules.anonymous.repositories, repository);
}

// Whether a user has a right; `rules` is null where the setting says that there are none and every user may do everything.
function userMay(rules, user, right, repository) {
    if (rules === null) {
        return true;
    }
    if (!has(rules.users, user)) {
        return false;
    }
    const own = rules.users[user];
    const repositories = patterns(own);
    if (!has(RANK, own.access)) {
        throw new Error('access.json has a user without a right');
    }
    if (right === 'login') {
        return true;
    }
    if (right === 'catalog') {
        // The catalog names all repositories.
        return own.access !== 'metrics' && anyOf(repositories, (pattern) => pattern === '**');
    }
    if (right === 'metrics' && own.access === 'metrics') {
        return true;
    }
    if (right === 'operate' || right === 'metrics') {
        return own.access === 'admin' && anyOf(repositories, (pattern) => pattern === '**');
    }
    // Logging in takes nothing away: what nobody may pull, everybody may.
    return (RANK[own.access] >= RANK[right] && listed(repositories, repository)) || anonymousMay(rules, right, repository);
}

// The most that a user may do in a repository, or nothing.
function rightIn(rules, user, repository) {
    return ['admin', 'push', 'create', 'pull'].find((right) => userMay(rules, user, right, repository)) || '';
}

// Whether somebody may push new tags of a repository alone.
function isCreatedIn(rules, repository) {
    return rules !== null && Object.keys(rules.users).some((user) => {
        const own = rules.users[user];
        return isObject(own) && own.access === 'create' && listed(patterns(own), repository);
    });
}

// ---- Tags that may not change

// Whether a tag of a repository is never to lead elsewhere, whoever pushes; `rules` as the role's setting has them.
function isImmutable(rules, repository, tag) {
    return rules.some((rule) => listed(rule.repositories, repository) && listed(rule.tags, tag) &&
        !listed(rule.except_tags || [], tag));
}

// ---- Quotas

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
// What was pushed since the last report is counted in files that have a byte for each block, of a name for each period.
const BLOCK = 64 * KIB;
const PERIOD = 5 * 60 * 1000;
// A manifest of this size passes all the same: the layers of its image are there already.
const SMALL_MANIFEST = 64 * KIB;

// The quotas that a repository counts for, each with the repositories that share it; `settings` as the role's has them.
function quotasOf(settings, repository) {
    return settings.map((setting) => quotaOf(setting, repository)).filter((quota) => quota !== null);
}

function quotaOf(setting, repository) {
    if (setting.repositories) {
        const has = (other) => listed(setting.repositories, other);
        return has(repository) ? sharedBy(setting.repositories.join(', '), has, setting) : null;
    }
    // Each namespace has it by itself: as many parts of the name as the pattern has.
    const beginning = (pattern) => repository.split('/').slice(0, pattern.split('/').length).join('/');
    const fits = setting.namespaces.find((pattern) => matches(pattern, beginning(pattern)));
    const own = fits ? beginning(fits) + '/' : '';
    return fits ? sharedBy(own, (other) => (other + '/').startsWith(own), setting) : null;
}

// Where bytes are counted. Two settings may mean the same repositories, which share one folder.
function foldersOf(quotas) {
    return quotas.map((quota) => quota.key).filter((key, i, keys) => keys.indexOf(key) === i);
}

function sharedBy(name, has, setting) {
    const key = crypto.createHash('sha256').update(name).digest('hex').slice(0, 32);
    return {name: name, has: has, limit: setting.quota_gib * GIB, key: key};
}

function readable(bytes) {
    const unit = [[GIB, ' GiB'], [MIB, ' MiB'], [KIB, ' KiB']].find((one) => bytes >= one[0]) || [1, ' bytes'];
    return (bytes / unit[0]).toFixed(1) + unit[1];
}

// What is said to an upload that begins, where it does not fit; `length` is what it announces, 0 where it does not say.
function refusalOfQuota(quota, used, length) {
    if (used < quota.limit && used + length <= quota.limit) {
        return null;
    }
    const more = length > 0 ? readable(length) + ' more do' : 'more does';
    return refuse(403, 'DENIED', quota.name + ' holds ' + readable(used) + ' of its quota of ' + readable(quota.limit) + ', and ' + more +
        ' not fit; delete images that nobody needs, or ask for a larger quota');
}

// What the last report says: when it began, and what the repositories of a quota hold together.
function reported(text, quota) {
    const report = JSON.parse(text);
    const began = Date.parse(report.time) - (report.seconds || 0) * 1000;
    const size = Object.keys(report.repositories).filter(quota.has).reduce((sum, name) => sum + report.repositories[name].size, 0);
    if (!Number.isFinite(began) || !Number.isFinite(size)) {
        throw new Error('the report has no time or no sizes');
    }
    return {began: began, size: size};
}

// ---- Who asks

// The one common name of a certificate's subject in RFC 2253's form; empty where it has none, several, or one that no user can have.
function commonName(subject) {
    // A comma or a plus that belongs to a value stands behind a backslash, as does a backslash.
    const attributes = subject.match(/(?:\\.|[^\\,+])+/g) || [];
    const names = attributes.filter((attribute) => /^\s*CN\s*=/.test(attribute));
    const found = names.length === 1 ? /^CN=([A-Za-z0-9][A-Za-z0-9._@-]{0,63})$/.exec(names[0]) : null;
    return found ? found[1] : '';
}

/*
 * Whose request it is: `user`, or `anonymous`, or `refusal` says why nobody's. With `password`, that holds only after the
 * password has been checked.
 */
function identify(asked) {
    const certified = asked.certificate !== null;
    if ((asked.mode === 'required' || asked.mode === 'both') && !certified) {
        return {refusal: 'a client certificate is required'};
    }
    if (asked.mode === 'required') {
        return {user: asked.certificate};
    }
    if (asked.mode === 'both') {
        return asked.passwordUser !== '' && asked.certificate !== asked.passwordUser
            ? {refusal: 'the client certificate belongs to another user', password: true}
            : {user: asked.certificate, password: true};
    }
    if (asked.authorization) {
        return {user: asked.passwordUser, password: true};
    }
    return certified && asked.mode === 'optional' ? {user: asked.certificate} : {anonymous: true};
}

function lastPart(path) {
    return path.slice(path.lastIndexOf('/') + 1);
}

// ---- Images of other registries, each of which has a first part of names for itself

// The mirror that a repository belongs to, or nothing; `mirrors` as the role's setting has them.
function mirrorOf(mirrors, repository) {
    const first = repository.split('/')[0];
    return mirrors.find((one) => one.name === first);
}

/*
 * The URI by which a repository has its whole name. A client may leave out the first part where it comes to a host name that stands
 * for it, or says with containerd's parameter `ns` which registry it means. Everything else begins with what this returns.
 */
function wholeUri(uri, host, mirrors) {
    const read = mirrors.length > 0 ? readPath(uri) : null;
    if (!read || !read.repository) {
        return uri;
    }
    const meant = decoded((readParameters(uri, ['ns']) || {}).ns);
    const found = mirrors.find((one) => one.names.indexOf(host) >= 0) ||
        mirrors.find((one) => one.hosts.indexOf(meant) >= 0 && mirrorOf([one], read.repository) === undefined);
    return found ? '/v2/' + found.name + uri.slice('/v2'.length) : uri;
}

/*
 * Whether a host name stands for a mirror of which everybody may pull something. Docker sends no password to a mirror, and goes past
 * one that asks for it when it begins: so nobody is asked there.
 */
function isOpen(rules, host, mirrors) {
    const mirror = mirrors.find((one) => one.names.indexOf(host) >= 0);
    return !!mirror && !!rules && rules.anonymous !== null &&
        anyOf(rules.anonymous.repositories, (pattern) => matches(pattern.split('/')[0], mirror.name));
}

// ---- What nginx sends itself

const CONDITIONS = ['Range', 'If-Range', 'If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since'];

// Whether the answer is a whole blob. Parts and conditions are the registry's: it has names for blobs and no dates, nginx dates.
function isWhole(conditions) {
    return conditions.length === 0;
}

// Whether nginx may answer for a manifest: the one condition that clients set is whether they have it already.
function isPlain(asked) {
    return !asked.body && asked.conditions.every((name) => name === 'If-None-Match');
}

// Where the registry keeps a blob: the file by which the repository has it, and the one that is it.
function blobFiles(read) {
    const digest = lastPart(read.path);
    if (!digest.startsWith('sha256:')) {
        return null;
    }
    const hex = digest.slice('sha256:'.length);
    return {
        link: '/docker/registry/v2/repositories/' + read.repository + '/_layers/sha256/' + hex + '/link',
        data: '/docker/registry/v2/blobs/sha256/' + hex.slice(0, 2) + '/' + hex + '/data',
        digest: digest,
    };
}

// The forms of manifests that all registries know.
const IMAGE_FORMS = ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json'];
const LIST_FORMS = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json'];
const MANIFEST_KEYS = ['schemaVersion', 'mediaType', 'artifactType', 'config', 'layers', 'manifests', 'subject', 'annotations'];
const SHA256 = /^sha256:[a-f0-9]{64}$/;
// A slow client holds what was read, parsed, so no more than one that has a layer sent. Almost all manifests are smaller.
const LONGEST_OWN_MANIFEST = 32 * KIB;
// A weight, which registries take no notice of. They differ in what they make of other parameters.
const WEIGHT = / *; *q=[0-9.]+$/;

// Whether an Accept header names a form in a way that leaves no registry a choice.
function accepts(header, form) {
    return /^[\t -~]*$/.test(header) && header.split(',').some((one) => one.trim().replace(WEIGHT, '') === form);
}

/*
 * The form of a manifest, or nothing where the registry has to say what it makes of it. Go reads keys in any case, so that only those
 * which are written as they should be are certain to mean what they say.
 */
function formOf(text) {
    let read;
    try {
        read = JSON.parse(text);
    } catch (error) {
        return '';
    }
    if (!isObject(read) || read.schemaVersion !== 2 || !Object.keys(read).every((key) => MANIFEST_KEYS.indexOf(key) >= 0)) {
        return '';
    }
    const image = isObject(read.config) && Array.isArray(read.layers) && !has(read, 'manifests');
    const list = Array.isArray(read.manifests) && !has(read, 'config') && !has(read, 'layers');
    const plain = ['annotations', 'subject'].every((key) => !has(read, key) || isObject(read[key])) &&
        (!has(read, 'artifactType') || typeof read.artifactType === 'string');
    const forms = image ? IMAGE_FORMS : list ? LIST_FORMS : [];
    return plain && forms.indexOf(read.mediaType) >= 0 ? read.mediaType : '';
}

function isTagOf(condition, digest) {
    return condition === digest || condition === '"' + digest + '"';
}

// Which of nginx's own ways a request takes; none where a registry alone can answer. A body is not nginx's to read.
function wayOf(asked, read, blob, turn, mirrored) {
    if (turn) {
        return 'turn';
    }
    if (asked.method !== 'GET' && asked.method !== 'HEAD') {
        return '';
    }
    if (read.route.answer) {
        return 'own_answer';
    }
    if (read.route.root) {
        return 'root';
    }
    if (blob) {
        return isWhole(asked.conditions) ? 'whole' : 'part';
    }
    // A tag may have moved in the other registry. What has a digest is what it is, and is sent from here once it has come.
    const kept = read.route.manifest && isPlain(asked) && !(mirrored && TAG.test(lastPart(read.path)));
    return kept ? 'manifest' : mirrored ? 'mirror' : '';
}

// ---- The repositories of a user

const USUAL_PAGE = 100;
const LONGEST_PAGE = 1000;

// Which part of the list is asked for, or null where that is none.
function readPart(parameters) {
    const n = !has(parameters, 'n') ? USUAL_PAGE : /^[1-9][0-9]{0,3}$/.test(parameters.n) ? Number(parameters.n) : 0;
    const last = decoded(parameters.last);
    return n >= 1 && n <= LONGEST_PAGE && (last === '' || isName(last))
        ? {n: n, last: last, search: decoded(parameters.search).toLowerCase()}
        : null;
}

// The answer: `names` in order, of which there may be one more than the part has; `report` is null where the registry named them.
function listAnswer(part, names, report, user, right) {
    const shown = names.slice(0, part.n);
    const query = {n: part.n, last: encodeURIComponent(shown[shown.length - 1] || ''), search: encodeURIComponent(part.search)};
    return {
        user: user,
        time: report ? report.time : null,
        repositories: shown.map((name) => {
            const about = report ? report.repositories[name] : {};
            return {name: name, access: right(name), tags: orNull(about.tags), size: orNull(about.size), newest: orNull(about.newest)};
        }),
        next: names.length > part.n ? '/v2/_drydock/repositories/list' + writeQuery(query) : null,
    };
}

function orNull(value) {
    return value === undefined ? null : value;
}

// ---- The decision

// As the registry has it; nginx.conf says the same of a body without a length.
const LONGEST_MANIFEST = 4 * 1024 * 1024;
// In words of its own: Docker drops the usual sentence, takes what is left for a passing failure, and tries a push for another minute.
const NOT_ALLOWED = 'this user may not do that in this repository';

function refuse(status, code, message) {
    return {status: status, error: JSON.stringify({errors: [{code: code, message: message}]}) + '\n', uri: ''};
}

// What nginx does with a request, provided that the password is right where `identify()` asks for one.
function decide(asked, who) {
    if (who.refusal) {
        return refuse(403, 'DENIED', who.refusal);
    }
    const uri = wholeUri(asked.uri, asked.host, asked.mirrors);
    const read = readPath(uri);
    if (!read) {
        return refuse(404, 'UNSUPPORTED', 'the registry API has no such path');
    }
    if (!has(read.route.rights, asked.method)) {
        return refuse(405, 'UNSUPPORTED', 'the registry API has no such method for this path');
    }
    const parameters = readParameters(uri, read.route.parameters);
    if (!parameters) {
        return refuse(400, 'UNSUPPORTED', 'the query is malformed or names a parameter twice');
    }
    const right = read.route.rights[asked.method];
    const rules = asked.rulesEnabled ? checked(access_rules) : null;
    const may = (what, repository) =>
        who.anonymous ? anonymousMay(rules, what, repository) : userMay(rules, who.user, what, repository);
    const open = !!read.route.root && !!who.anonymous && isOpen(rules, asked.host, asked.mirrors);
    if (!open && !may(right, read.repository)) {
        return refuse(403, 'DENIED', NOT_ALLOWED);
    }
    const mirror = mirrorOf(asked.mirrors, read.repository || '');
    if (mirror && right === 'create') {
        return refuse(403, 'DENIED', 'repositories below ' + mirror.name + '/ are those of ' + mirror.url + ': push to another name');
    }
    if (read.route.answer && !readPart(parameters)) {
        return refuse(400, 'UNSUPPORTED', 'n is a number from 1 to ' + LONGEST_PAGE + ', and last the name of a repository');
    }
    if (has(parameters, 'mount') || has(parameters, 'from')) {
        // To mount a blob is to read it from another repository. Without the two, the registry starts an ordinary upload.
        const from = decoded(parameters.from);
        const digest = decoded(parameters.mount);
        delete parameters.from;
        delete parameters.mount;
        if (isName(from) && isDigest(digest) && may('pull', from)) {
            parameters.mount = digest;
            parameters.from = from;
        }
    }
    const blob = read.route.blob && asked.method !== 'DELETE' ? blobFiles(read) : null;
    const mirrored = !!mirror && right === 'pull';
    const tag = read.route.manifest && asked.method === 'PUT' ? lastPart(read.path) : '';
    // What is pushed by its digest is what it is, and moves no tag.
    const tagged = TAG.test(tag);
    const once = tagged && (!may('push', read.repository) || isImmutable(JSON.parse(asked.immutableTags), read.repository, tag));
    // Who may move a tag waits as well: a push that found none before could come after this one, and move it.
    const turn = once || (tagged && isCreatedIn(rules, read.repository));
    if (turn && asked.length > LONGEST_MANIFEST) {
        return refuse(413, 'MANIFEST_INVALID', 'a manifest has at most 4 MiB');
    }
    return {
        status: 200,
        error: '',
        uri: read.path + writeQuery(parameters),
        upload: !!read.route.upload,
        way: wayOf(asked, read, blob, turn, mirrored),
        mirror: mirrored ? mirror.name : '',
        blob: blob,
        turn: turn ? read.repository + ':' + tag : '',
        moves: turn && !once,
        // Whose quotas this may take from.
        grows: ['POST', 'PATCH', 'PUT'].indexOf(asked.method) >= 0 ? read.repository : '',
    };
}

function decoded(value) {
    try {
        return value === undefined ? '' : decodeURIComponent(value);
    } catch (error) {
        return '';
    }
}

// ---- The password

// The longest user with the longest password fits, and nothing much longer.
const LONGEST_CREDENTIALS = 512;
const LONGEST_NAME_BYTES = 255;
// bcrypt reads no further, so a longer password would be as good as its beginning.
const LONGEST_PASSWORD_BYTES = 72;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
// Space, line and paragraph separators and what is invisible, which registry_auth refuses in names.
const INVISIBLE = /[\u0020\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]/;

// The text of bytes that are well-formed UTF-8, or null.
function utf8(bytes) {
    try {
        return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    } catch (error) {
        return null;
    }
}

/*
 * The user whom an Authorization header names, and the header in the one form in which it is passed on; null where no user could
 * have sent it. Neither the password server nor its cache sees anything that was not read here.
 */
function credentials(authorization) {
    const found = authorization.length <= LONGEST_CREDENTIALS ? /^basic +([A-Za-z0-9+\/]+={0,2})$/i.exec(authorization) : null;
    if (!found) {
        return null;
    }
    const bytes = Buffer.from(found[1], 'base64');
    // Each text has one encoding: without this, decoders could differ.
    if (bytes.toString('base64') !== found[1]) {
        return null;
    }
    const text = utf8(bytes);
    const colon = text === null ? -1 : text.indexOf(':');
    if (colon < 0 || CONTROL.test(text)) {
        return null;
    }
    const user = text.slice(0, colon);
    const userBytes = bytes.indexOf(':');
    const passwordBytes = bytes.length - userBytes - 1;
    const possible = user !== '' && user !== '.' && user !== '..' && user[0] !== '#' && user.indexOf('/') < 0 &&
        !INVISIBLE.test(user) && userBytes <= LONGEST_NAME_BYTES && passwordBytes > 0 && passwordBytes <= LONGEST_PASSWORD_BYTES;
    return possible ? {user: user, header: 'Basic ' + found[1]} : null;
}

// Under what name a right password is remembered: nobody can make it, or make the password of it, without the secret.
function nameOf(header, secret) {
    return secret ? crypto.createHmac('sha256', secret).update(header).digest('hex') : '';
}

// Whose guesses are counted together: an IPv4 address, or a network of IPv6 (/64), since a client there has any address of it.
function networkOf(address) {
    if (address.indexOf(':') < 0) {
        return address;
    }
    const halves = address.split('::');
    const first = halves[0] === '' ? [] : halves[0].split(':');
    const last = halves.length < 2 || halves[1] === '' ? [] : halves[1].split(':');
    const zeros = halves.length < 2 ? [] : '0'.repeat(8 - first.length - last.length).split('');
    return first.concat(zeros, last).slice(0, 4).join(':') + '::/64';
}

// ---- What nginx asks for

// What skopeo and podman send where they have no credentials: an empty name with an empty password.
const NO_CREDENTIALS = /^Basic +Og==$/i;

// The request as the functions above take it. It has to be right in a subrequest, too, whose own method is GET.
function request(r) {
    const variables = r.variables;
    const header = r.headersIn.Authorization || '';
    const authorization = header !== '' && !NO_CREDENTIALS.test(header);
    const sent = authorization ? credentials(header) : null;
    return {
        method: variables.request_method,
        // As the client sent it: nginx's own reading is not the registry's.
        uri: variables.request_uri,
        host: variables.host,
        mirrors: variables.mirrors ? JSON.parse(variables.mirrors) : [],
        mode: variables.client_certificates,
        authorization: authorization,
        credentials: sent,
        passwordUser: sent ? sent.user : '',
        certificate: variables.ssl_client_verify === 'SUCCESS' ? commonName(variables.ssl_client_s_dn || '') : null,
        // Whether there are rules is for the setting to say, never for the file. nginx does not start where it is missing.
        rulesEnabled: variables.access_rules_enabled !== 'off',
        immutableTags: variables.immutable_tags,
        length: Number(variables.content_length || 0),
        body: Number(variables.content_length || 0) > 0 || isChunked(variables),
        conditions: CONDITIONS.filter((name) => r.headersIn[name] !== undefined),
    };
}

// A form in the body of an upload could name another repository to mount from: the registry must not take it for one.
function contentType(r, decision) {
    return decision.upload ? 'application/octet-stream' : r.variables.content_type || '';
}

// Clients send several of them, of which nginx before 1.23 would pass on the first.
function accept(r) {
    const values = r.rawHeadersIn.filter((header) => header[0].toLowerCase() === 'accept').map((header) => header[1]);
    return values.join(', ');
}

/*
 * What becomes of the password: `none` is needed, `ask` whether it is right, or `refuse` what cannot be. nginx asks once for each
 * request; what else it needs to know is left in variables, which are empty, and so refuse, until this has ended well.
 */
function judge(r) {
    const variables = r.variables;
    const asked = request(r);
    const ask = asked.credentials ? 'ask' : 'refuse';
    if (asked.credentials) {
        variables.client_network = networkOf(variables.remote_addr);
        variables.password_header = asked.credentials.header;
        variables.password_name = nameOf(asked.credentials.header, variables.password_cache_secret);
    }
    let who;
    let decision;
    try {
        who = identify(asked);
        decision = decide(asked, who);
    } catch (error) {
        // Nobody learns of it without a password; with one, it is a refusal.
        r.error('access could not be decided: ' + error);
        return ask;
    }
    variables.access_user = who.user || '';
    variables.access_error = decision.error;
    variables.access_uri = decision.uri;
    variables.answer_way = decision.way || '';
    variables.answer_mirror = decision.mirror || '';
    if (decision.blob) {
        variables.blob_link = decision.blob.link;
        variables.blob_data = decision.blob.data;
        variables.blob_digest = decision.blob.digest;
    }
    variables.tag_turn = decision.turn || '';
    variables.tag_moves = decision.moves ? 'yes' : '';
    variables.quota_repository = decision.grows || '';
    variables.registry_accept = accept(r);
    variables.registry_content_type = contentType(r, decision);
    variables.access_status = String(decision.status);
    if (who.password) {
        return ask;
    }
    return who.anonymous && decision.status !== 200 ? 'refuse' : 'none';
}

// ---- A quota

function folderOf(r, key) {
    return r.variables.quota_directory + '/' + key;
}

// Another request may be writing it.
function readKept(path) {
    try {
        return JSON.parse(fs.readFileSync(path, 'utf8'));
    } catch (error) {
        return {};
    }
}

function keep(path, text) {
    try {
        fs.writeFileSync(path, text);
    } catch (error) {
        // It is read again for the next request.
    }
}

function readReport(r, quota) {
    const path = r.variables.storage_report;
    const kept = folderOf(r, quota.key) + '.report';
    try {
        const about = fs.statSync(path);
        const stamp = about.mtimeMs + ' ' + about.size;
        // With ten thousand repositories it takes a tenth of a second to read, so what it says of a quota is kept.
        const known = readKept(kept);
        if (known.stamp === stamp) {
            return known;
        }
        const found = reported(fs.readFileSync(path, 'utf8'), quota);
        keep(kept, JSON.stringify({stamp: stamp, began: found.began, size: found.size}));
        return found;
    } catch (error) {
        // Before the first report there is none. A broken one is no reason to refuse what may fit.
        if (error.code !== 'ENOENT') {
            r.error('quotas go without the storage report: ' + error);
        }
        return {began: 0, size: 0};
    }
}

function countedSince(folder, began) {
    let names = [];
    try {
        names = fs.readdirSync(folder);
    } catch (error) {
        // Nothing was pushed.
    }
    return names.reduce((sum, name) => {
        const path = folder + '/' + name;
        try {
            if (Number(name) >= Math.floor(began / PERIOD)) {
                return sum + fs.statSync(path).size * BLOCK;
            }
            fs.unlinkSync(path);
        } catch (error) {
            // Another request was faster.
        }
        return sum;
    }, 0);
}

function isChunked(variables) {
    return !!variables.http_transfer_encoding;
}

// The refusal of what brings bytes that do not fit, or nothing. nginx asks once it has let the user in.
function overQuota(r) {
    const variables = r.variables;
    const length = Number(variables.content_length || 0);
    const chunked = isChunked(variables);
    const begins = variables.request_method === 'POST';
    const upload = variables.access_uri.indexOf('/blobs/uploads/') > 0;
    // What was sent may be finished.
    if (!begins && !chunked && length <= (upload ? 0 : SMALL_MANIFEST)) {
        return '';
    }
    const refusals = quotasOf(JSON.parse(variables.quotas), variables.quota_repository).map((quota) => {
        const report = readReport(r, quota);
        return refusalOfQuota(quota, report.size + countedSince(folderOf(r, quota.key), report.began), length);
    }).filter((refusal) => refusal !== null);
    return refusals.length > 0 ? refusals[0].error : '';
}

// Count what came, at the end of a request. What nginx has refused itself has reached no registry.
function countBytes(r) {
    const variables = r.variables;
    const bytes = Number(variables.content_length || 0) > 0 || isChunked(variables) ? Number(variables.request_length) : 0;
    if (bytes > 0 && (variables.upstream_addr || (variables.tag_turn && variables.status === '201'))) {
        foldersOf(quotasOf(JSON.parse(variables.quotas), variables.quota_repository)).forEach((key) => {
            const folder = folderOf(r, key);
            try {
                fs.mkdirSync(folder, {mode: 0o750});
            } catch (error) {
                // It is there.
            }
            try {
                fs.appendFileSync(folder + '/' + Math.floor(Date.now() / PERIOD), 'x'.repeat(Math.ceil(bytes / BLOCK)));
            } catch (error) {
                r.error('what was pushed is not counted: ' + error);
            }
        });
    }
    return '';
}

// ---- A manifest that nginx sends itself

const STORAGE = '/docker/registry/v2';
const LONGEST_LINK = 'sha256:'.length + 64;

// What a file of the storage holds; null where there is none, where it is too long, and where a symbolic link is on the way to it.
function readStored(path, longest) {
    try {
        const found = fs.lstatSync(path);
        return found.isFile() && found.size <= longest && fs.realpathSync(path) === path ? fs.readFileSync(path) : null;
    } catch (error) {
        return null;
    }
}

// The digest that a link holds and nothing else, or nothing. Registries empty a link before they write it again.
function readLink(path) {
    const bytes = readStored(path, LONGEST_LINK);
    const text = bytes ? bytes.toString() : '';
    return SHA256.test(text) ? text : '';
}

/*
 * The answer to a request for a manifest, or null where it is the registry's, or another's that is mirrored. It is looked for where the
 * registry would: the tag's link, the repository's link to the manifest, and the manifest. All is read anew for each request, so what is
 * deleted or moved is so at once. What is sent has the digest by which it is called, whatever happens to the files meanwhile.
 */
function manifestOf(r) {
    const variables = r.variables;
    const storage = variables.document_root + STORAGE;
    const asked = /^\/v2\/(.+)\/manifests\/([^\/]+)$/.exec(variables.access_uri);
    const folder = storage + '/repositories/' + asked[1] + '/_manifests';
    const reference = asked[2];
    const digest = TAG.test(reference) ? readLink(folder + '/tags/' + reference + '/current/link') : reference;
    const hex = digest.slice('sha256:'.length);
    if (!SHA256.test(digest) || readLink(folder + '/revisions/sha256/' + hex + '/link') !== digest) {
        return null;
    }
    const bytes = readStored(storage + '/blobs/sha256/' + hex.slice(0, 2) + '/' + hex + '/data', LONGEST_OWN_MANIFEST);
    if (!bytes || crypto.createHash('sha256').update(bytes).digest('hex') !== hex) {
        return null;
    }
    const condition = variables.http_if_none_match;
    if (condition) {
        return isTagOf(condition, digest) ? {status: 304} : null;
    }
    const form = formOf(bytes.toString());
    return form && accepts(variables.registry_accept, form) ? {
        status: 200,
        form: form,
        digest: digest,
        bytes: bytes,
    } : null;
}

function sendManifest(r) {
    const found = manifestOf(r);
    if (found === null) {
        r.internalRedirect(r.variables.answer_mirror ? '@mirror' : '@registry');
    } else if (found.status === 304) {
        // `return` would tell of a body that there is not.
        r.status = found.status;
        r.sendHeader();
        r.finish();
    } else {
        r.headersOut['Content-Type'] = found.form;
        r.headersOut['Docker-Content-Digest'] = found.digest;
        r.headersOut.ETag = '"' + found.digest + '"';
        r.return(found.status, found.bytes);
    }
}

// ---- The audit log

// Of texts that a client makes up, so much is written.
const LONGEST_NOTE = 300;
const DAY = 24 * 60 * 60 * 1000;
// In memory, and its length is what counts.
const LOST = '/tmp/audit-lost';
// Followed by the day on which the oldest files were removed. Today's file says nothing of it: others may have made it.
const REMOVED = '/tmp/audit-removed-';

// What a request was to whoever asks later who changed what; null where it changed nothing and was not refused.
function auditedEvent(told) {
    if (told.refused) {
        const login = told.status === 401 || (told.status === 403 && (told.refused === 'login' || told.user === ''));
        const right = told.status === 403 && !login;
        return told.throttled || !(login || right) ? null : login ? 'refused_login' : 'refused_right';
    }
    const read = readPath(told.uri);
    if (!read) {
        return null;
    }
    if (read.route.manifest && told.method === 'PUT') {
        return 'push';
    }
    if ((read.route.manifest || read.route.blob) && told.method === 'DELETE') {
        return 'delete';
    }
    const mounted = told.method === 'POST' && told.status === 201 && /[?&]mount=/.test(told.uri);
    return mounted ? 'mount' : null;
}

// One line of the audit log, without a password, a token or the state of an upload.
function auditLine(event, told) {
    const refused = event.startsWith('refused_');
    const read = readPath(refused ? told.sentUri : told.uri);
    const query = event === 'mount' ? readParameters(told.uri, ['mount', 'from']) : {};
    const manifest = read && read.route.manifest;
    const line = {
        time: told.time,
        event: event,
        user: told.user.slice(0, LONGEST_NOTE),
        address: told.address,
        method: refused ? told.method : '',
        path: refused && !read ? told.sentUri.split('?')[0].slice(0, LONGEST_NOTE) : '',
        repository: read && read.repository || '',
        reference: manifest || (read && read.route.blob) ? lastPart(read.path) : '',
        digest: event === 'push' ? told.digest : query.mount || '',
        from: query.from || '',
        bytes: event === 'push' ? told.length : '',
        status: told.status,
        agent: told.agent.slice(0, LONGEST_NOTE),
        request_id: told.requestId,
    };
    Object.keys(line).forEach((key) => {
        if (line[key] === '') {
            delete line[key];
        }
    });
    return JSON.stringify(line) + '\n';
}

// Of the files in the folder of the logs, those whose day is over for so long.
function outdatedLogs(names, today, days) {
    const first = new Date(Date.parse(today) - days * DAY).toISOString().slice(0, 10);
    return names.filter((name) => {
        const found = /^(?:audit|pulls)-(\d{4}-\d\d-\d\d)\.log$/.exec(name);
        return found !== null && found[1] < first;
    });
}

// Whoever writes the first line of a day removes the files that are too old.
function removeOldLogs(directory, today, days) {
    outdatedLogs(fs.readdirSync(directory), today, days).forEach((name) => {
        try {
            fs.unlinkSync(directory + '/' + name);
        } catch (error) {
            // Another process was faster.
        }
    });
}

function exists(path) {
    try {
        fs.statSync(path);
        return true;
    } catch (error) {
        return false;
    }
}

// How many lines were lost so far; they are told once, by whoever gets the file.
function takeLost(pid) {
    if (!exists(LOST)) {
        return 0;
    }
    const own = LOST + '.' + pid;
    try {
        fs.renameSync(LOST, own);
        const count = fs.statSync(own).size;
        fs.unlinkSync(own);
        return count;
    } catch (error) {
        return 0;
    }
}

// Add a line to the audit log, or count it where the disk does not take it. Nobody's request depends on it.
function writeAudit(r, line) {
    const variables = r.variables;
    const directory = variables.log_directory;
    const today = variables.time_iso8601.slice(0, 10);
    const path = directory ? directory + '/audit-' + today + '.log' : '/dev/stdout';
    const lost = takeLost(variables.pid);
    const told = lost > 0 ? JSON.stringify({time: variables.time_iso8601, event: 'lost', count: lost}) + '\n' : '';
    try {
        if (directory && !exists(REMOVED + today)) {
            removeOldLogs(directory, today, Number(variables.audit_days));
            fs.writeFileSync(REMOVED + today, '');
        }
        // What was lost may have left half a line. One call for all: other processes write here as well.
        fs.appendFileSync(path, (told ? '\n' : '') + told + line, {mode: 0o640});
    } catch (error) {
        fs.appendFileSync(LOST, 'x'.repeat(lost + 1));
        r.error('the audit log lost a line: ' + error);
    }
}

// Write what a request was, at its end, where it belongs there.
function audit(r) {
    const variables = r.variables;
    try {
        const told = {
            time: variables.time_iso8601,
            method: variables.request_method,
            // As it was judged, and as it came.
            uri: variables.access_uri || '',
            sentUri: variables.request_uri || '',
            status: Number(variables.status),
            refused: variables.refused || '',
            throttled: variables.limit_req_status !== 'PASSED',
            user: variables.access_user || commonName(variables.ssl_client_s_dn || ''),
            address: variables.remote_addr,
            digest: variables.sent_http_docker_content_digest || '',
            length: variables.content_length ? Number(variables.content_length) : '',
            agent: variables.http_user_agent || '',
            requestId: variables.request_id,
        };
        const event = auditedEvent(told);
        if (event) {
            writeAudit(r, auditLine(event, told));
        }
    } catch (error) {
        r.error('the audit log has no line of this request: ' + error);
    }
    return '';
}

// Note that a manifest was sent. nginx says whether one was.
function notePull(r) {
    const variables = r.variables;
    const day = variables.time_iso8601.slice(0, 10);
    const line = variables.msec + ' ' + variables.request_method + ' ' + variables.access_uri + '\n';
    try {
        fs.appendFileSync(variables.log_directory + '/pulls-' + day + '.log', line, {mode: 0o640});
    } catch (error) {
        r.error('a pull is not noted: ' + error);
    }
    return '';
}

// ---- A tag that is written in turn

const SECOND = 1000;
const PATIENCE = 30 * SECOND;
const PAUSE = 100;
const TAKEN = 429;
const ANSWERED = ['Content-Type', 'Docker-Content-Digest', 'Location', 'OCI-Subject', 'Warning'];

function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function finish(r, status, text) {
    try {
        r.return(status, text);
    } catch (error) {
        // The client has gone.
    }
}

function answer(r, reply) {
    r.headersOut['Content-Type'] = 'application/json';
    finish(r, reply.status, reply.error);
}

// Wait until nobody else writes the tag, and write it: the first of several pushes is in the registry when the next is judged.
async function writeInTurn(r) {
    const end = Date.now() + PATIENCE;
    for (;;) {
        const reply = await r.subrequest('/turn', {method: 'PUT'});
        if (reply.status !== TAKEN) {
            ANSWERED.forEach((name) => {
                if (reply.headersOut[name]) {
                    r.headersOut[name] = reply.headersOut[name];
                }
            });
            finish(r, reply.status, reply.responseText);
            return;
        }
        if (Date.now() + PAUSE > end) {
            answer(r, refuse(429, 'TOOMANYREQUESTS', 'another push of this tag does not end; push again later'));
            return;
        }
        await pause(PAUSE);
    }
}

// What the registry says of a tag: it may be written where there is none, or where it is what is pushed already.
function refusalOfTag(name, status, told, digest) {
    if (status === 404 || (status === 200 && told === digest)) {
        return null;
    }
    return status === 200 && DIGEST.test(told)
        ? refuse(403, 'DENIED', 'the tag ' + name + ' exists, with ' + told + ', and may not be changed; push another tag')
        : refuse(503, 'UNAVAILABLE', 'the registry does not say whether there is a tag ' + name + ' already; push again later');
}

// Nobody else is here for the same tag.
async function writeTag(r) {
    if (r.headersIn['Drydock-Moves'] === 'yes') {
        r.internalRedirect('@write');
        return;
    }
    // njs 0.7.9 has no buffer of an empty body.
    const body = Number(r.headersIn['Content-Length']) > 0 ? r.requestBuffer : '';
    const digest = 'sha256:' + crypto.createHash('sha256').update(body).digest('hex');
    const reply = await r.subrequest('/tag');
    const refusal = refusalOfTag(r.headersIn['Drydock-Tag'], reply.status, reply.headersOut['Docker-Content-Digest'], digest);
    if (refusal) {
        answer(r, refusal);
    } else {
        r.internalRedirect('@write');
    }
}

// ---- What nginx answers itself

const FROM_CATALOG = 1000;

// The last storage report, or null where there is none that says anything.
function lastReport(r) {
    const path = r.variables.storage_report;
    if (path === '') {
        return null;
    }
    try {
        const report = JSON.parse(fs.readFileSync(path, 'utf8'));
        if (!isObject(report) || !isObject(report.repositories) || typeof report.time !== 'string') {
            throw new Error('it has no time or no repositories');
        }
        return report;
    } catch (error) {
        // Before the first report there is none.
        if (error.code !== 'ENOENT') {
            r.error('the storage report cannot be read: ' + error);
        }
        return null;
    }
}

// In a certificate, two times come one after the other where it says from when to when it is valid, and nowhere before.
const VALIDITY = /30(?:1e|20|22)(?:170d(?:3\d){12}|180f(?:3\d){14})5a(?:170d((?:3\d){12})|180f((?:3\d){14}))5a/;

// When the server's certificate ends, or null where nobody can tell.
function certificateEnds(r) {
    try {
        const der = fs.readFileSync(r.variables.tls_certificate, 'utf8').split('-----')[2].replace(/\s/g, '');
        const found = VALIDITY.exec(Buffer.from(der, 'base64').toString('hex'));
        // With two digits, years are those of this century: no certificate in use is older.
        const digits = (found[2] || '3230' + found[1]).replace(/3(\d)/g, '$1');
        return digits.replace(/(....)(..)(..)(..)(..)(..)/, '$1-$2-$3T$4:$5:$6Z');
    } catch (error) {
        return null;
    }
}

// Names from the registry's catalog, which it makes by a walk through all of its storage; null where it gives none.
async function fromCatalog(r, part, wanted) {
    let names = [];
    let last = part.last;
    for (;;) {
        const reply = await r.subrequest('/catalog', {method: 'GET', args: 'n=' + FROM_CATALOG + '&last=' + encodeURIComponent(last)});
        if (reply.status !== 200) {
            return null;
        }
        const found = JSON.parse(reply.responseText).repositories || [];
        names = names.concat(found.filter(wanted));
        if (found.length < FROM_CATALOG || names.length > part.n) {
            return names;
        }
        last = found[found.length - 1];
    }
}

// Who asks is who judge() found, and may at least log in; what he may pull is decided for each repository as for a pull.
async function answerItself(r) {
    const uri = r.variables.access_uri;
    const route = readPath(uri).route;
    const rules = r.variables.access_rules_enabled !== 'off' ? checked(access_rules) : null;
    const user = r.variables.access_user;
    const report = lastReport(r);
    r.headersOut['Cache-Control'] = 'no-store';
    if (route.answer === 'state') {
        const figures = report && {time: report.time, since: report.since, totals: report.totals, largest: report.largest};
        answer(r, {status: 200, error: JSON.stringify({certificate_ends: certificateEnds(r), report: figures}) + '\n'});
        return;
    }
    const part = readPart(readParameters(uri, route.parameters));
    const wanted = (name) => isName(name) && name.indexOf(part.search) >= 0 && userMay(rules, user, 'pull', name);
    // What has no image was begun, or is empty by now.
    const holds = (name) => name > part.last && report.repositories[name].images !== 0;
    const names = report
        ? Object.keys(report.repositories).filter((name) => holds(name) && wanted(name)).sort()
        : await fromCatalog(r, part, wanted);
    answer(r, names === null
        ? refuse(503, 'UNAVAILABLE', 'no registry lists its repositories at the moment')
        : {status: 200, error: JSON.stringify(listAnswer(part, names, report, user, (name) => rightIn(rules, user, name))) + '\n'});
}

export default {audit, judge, answerItself, overQuota, countBytes, notePull, sendManifest, writeInTurn, writeTag};
