// rollbackCommand is what the other steps of this library stand on: it refuses unknown keys, turns keys and parameters into
// the variables of the program, runs one command of it, and reads the outcome that the program left behind. All else is in
// the program: the same in the sandbox of a folder library and on a laptop.

Map call(Map o = [:]) {
    return perform(o)
}

// settings say which scope and where it lives: the selectors and settings of rollback.yaml, in camelCase.
List settings() {
    return [
        'config', 'service', 'environment',
        'repo', 'branch', 'image', 'tag', 'job', 'namespace', 'workloads', 'confirm', 'timeout', 'settle',
        'registryKind', 'registryAccount', 'registryRegion', 'registryProfile', 'registryRole', 'registryExternalId', 'registryHost',
        'registryInsecure', 'registryCaFile', 'registryUsernameEnv', 'registryPasswordEnv',
        'clusterContext', 'clusterKubeconfig', 'clusterEks', 'clusterRegion', 'clusterProfile', 'clusterRole', 'clusterExternalId',
        'clusterInCluster', 'clusterServer', 'clusterUid',
        'githubUrl', 'githubTokenEnv', 'githubApp', 'githubInstallation', 'githubCaFile', 'githubKeyFile',
        'jenkinsUrl', 'jenkinsInsecure', 'jenkinsUser', 'jenkinsTokenEnv', 'jenkinsPasswordEnv', 'jenkinsCaFile',
        'jenkinsCommitParameter', 'jenkinsWebhook', 'jenkinsRollbackJob', 'jenkinsLibrary',
        'revertDue', 'revertWait', 'revertLabels', 'revertReviewers', 'revertDraft', 'revertAutoMerge',
        'revertBranchPrefix', 'revertTempPrefix', 'revertMigrations',
        'strictServices',
    ]
}

// agent is what withRollback brings to an agent: the program, its configuration, and credentials by id.
List agent() {
    return [
        'binary', 'url', 'version', 'sha256', 'configText',
        'github', 'githubLogin', 'githubKey', 'aws', 'kubeconfig', 'jenkins', 'registry',
    ]
}

// parameters are the options that a job's page may offer; a step takes only those that are its own.
List parameters() {
    return ['service', 'environment', 'method', 'to', 'reason', 'dryRun', 'accept', 'acceptMigrations', 'wait', 'id']
}

// options are the flags of the commands that are keys of a step.
List options() {
    return [
        'to', 'method', 'wait', 'reason', 'dryRun', 'accept', 'acceptMigrations', 'steal', 'noRecord', 'user', 'tags', 'for',
        'pr', 'commit', 'from', 'draft', 'autoMerge',
    ]
}

// switches are the keys that decide whether production is changed, and whether somebody is asked before. They are true or
// false: a value that was misread would leave a rollback unasked, or make one of a dry run.
List switches() {
    return ['approve', 'choose', 'confirm', 'dryRun', 'none']
}

// check refuses a key that the step does not know, and a value that it does not take, before anything runs.
void check(String step, Map args, List own) {
    refuse(step, mistake(args, own + settings() + agent() + ['node']))
}

void refuse(String step, String wrong) {
    if (wrong != '') {
        error(step + ': ' + wrong + ' Nothing was started.')
    }
}

// mistake is what is wrong with the keys, '' if nothing is.
String mistake(Map args, List known) {
    for (Object k : args.keySet().toList()) {
        String key = k.toString()
        if (!known.contains(key)) {
            String near = nearest(key, known)
            return 'no key "' + key + '"' + (near ? ', did you mean "' + near + '"?' : '.')
        }
        Object value = args.get(k)
        if (value instanceof Map || value instanceof Closure) {
            return key + ' takes a text, a number, a boolean or a list.'
        }
        if (switches().contains(key) && (value instanceof List || !(text(value) in ['true', 'false']))) {
            return key + ' takes true or false, not "' + text(value) + '".'
        }
        if (key == 'approveWithin' && text(value) != '' && !text(value).matches('[1-9][0-9]{0,4}')) {
            return 'approveWithin takes minutes, a whole number, not "' + text(value) + '".'
        }
        if (key == 'also' && value != null && !(value instanceof List)) {
            return 'also takes a list of parameters.'
        }
    }
    return ''
}

// nearest is the known key closest to a mistyped one, '' if none is close.
String nearest(String word, List known) {
    String best = ''
    int limit = word.length() > 5 ? 4 : 3
    for (Object k : known) {
        int d = distance(word.toLowerCase(Locale.ROOT), k.toString().toLowerCase(Locale.ROOT), limit)
        if (d < limit) {
            best = k.toString()
            limit = d
        }
    }
    return best
}

// distance is the number of letters to add, drop or change to get from a to b; limit when it is not below that.
int distance(String a, String b, int limit) {
    if (Math.abs(a.length() - b.length()) >= limit) {
        return limit
    }
    List row = []
    for (int j = 0; j <= b.length(); j++) {
        row.add(j)
    }
    for (int i = 0; i < a.length(); i++) {
        String letter = a.substring(i, i + 1)
        int diagonal = row.get(0)
        int least = i + 1
        row[0] = i + 1
        for (int j = 0; j < b.length(); j++) {
            int above = row.get(j + 1)
            int left = row.get(j)
            int cost = diagonal
            if (letter != b.substring(j, j + 1)) {
                cost = Math.min(diagonal, Math.min(left, above)) + 1
            }
            diagonal = above
            row[j + 1] = cost
            least = Math.min(least, cost)
        }
        if (least >= limit) { // it only grows from here
            return limit
        }
    }
    int d = row.get(b.length())
    return Math.min(limit, d)
}

// variable is the name under which the program reads a key: registryAccount is ROLLBACK_REGISTRY_ACCOUNT.
String variable(String key) {
    return 'ROLLBACK_' + key.replaceAll('([A-Z])', '_$1').toUpperCase(Locale.ROOT)
}

// text is a value as the program reads it, '' for none.
String text(Object value) {
    if (value == null) {
        return ''
    }
    if (value instanceof List) {
        return value.join(',')
    }
    return value.toString()
}

// words are a list, or a text with commas.
List words(Object value) {
    List list = []
    for (Object word : text(value).split(',')) {
        if (word.toString().trim() != '') {
            list.add(word.toString().trim())
        }
    }
    return list
}

// value is what a key is set to: by the caller, else by the environment, else by a parameter of the job.
String value(Map args, String key) {
    String given = text(args.get(key))
    if (given == '') {
        given = typed(variable(key)) ?: text(env.getProperty(variable(key)))
    }
    return given.trim()
}

// typed is a parameter that the environment does not hold, or not as it was typed: in the run that introduces a parameter it is
// not there yet, and where there is a $ in one, Jenkins puts the values of variables into it.
String typed(String name) {
    String page = text(params.get(name))
    return name == 'ROLLBACK_REASON' && page.contains('$') || text(env.getProperty(name)) == '' ? page : ''
}

// yes is a switch, by whomever it was set. What is neither true nor false ends the build before anything runs.
boolean yes(String step, Map args, String key) {
    String said = value(args, key)
    if (!(said in ['', 'true', 'false'])) {
        refuse(step, variable(key) + ' takes true or false, not "' + said + '".')
    }
    return said == 'true'
}

// variables are the keys as variables, without those that a credential is bound to, and the parameters that the environment
// does not hold, or not as they were typed.
List variables(Map args, List bound) {
    List known = settings() + options()
    List list = []
    for (Object name : params.keySet().toList()) {
        if (name.toString().startsWith('ROLLBACK_') && typed(name.toString()) != '') {
            list.add(name.toString() + '=' + typed(name.toString()))
        }
    }
    for (Object k : args.keySet().toList()) {
        if (known.contains(k.toString()) && text(args.get(k)) != '' && !bound.contains(k.toString())) {
            list.add(variable(k.toString()) + '=' + text(args.get(k)))
        }
    }
    return list
}

// scope is payments/prod, in words.
String scope(Map args) {
    String service = value(args, 'service')
    String environment = value(args, 'environment')
    return service && environment ? service + '/' + environment : service ?: environment ?: 'everything'
}

// folder holds the files that one build leaves of one scope. A name from a parameter cannot lead out of it.
String folder(Map args) {
    return 'rollback-record/' + scope(args).replaceAll('[^A-Za-z0-9_.-]', '-').replaceAll('^[.]+', '-')
}

// within runs a body on an agent that is ready: in the node that the caller is in, or in one of its own.
void within(Map args, Closure body) {
    withRollback(only(args, settings() + agent() + ['node'])) {
        body()
    }
}

// only are the entries of a map that have one of these keys.
Map only(Map args, List keys) {
    Map some = [:]
    for (Object k : args.keySet().toList()) {
        if (keys.contains(k.toString())) {
            some.put(k.toString(), args.get(k))
        }
    }
    return some
}

// user is who started the build, for the record; '' for a timer or another job.
String user() {
    List causes = currentBuild.getBuildCauses()
    for (int i = 0; i < causes.size(); i++) {
        String id = text(causes.get(i).get('userId'))
        if (id != '') {
            return id
        }
    }
    return ''
}

// perform runs one command of the program and returns what it left behind, beside `exit`, its exit code.
//   command: its name; args: the keys of the step; own: those that the command takes; file: where the outcome goes;
//   and: further variables, which have the last word.
Map perform(Map o) {
    Map args = o.args
    String place = folder(args)
    List list = []
    for (Object key : parameters()) { // of the job's page: what is not meant for this command, it must not see
        if (!settings().contains(key.toString()) && !o.own.contains(key.toString())) {
            list.add(variable(key.toString()) + '=')
        }
    }
    if (o.own.contains('user') && value(args, 'user') == '') {
        list.add('ROLLBACK_USER=' + user())
    }
    List all = variables(only(args, o.own + settings()), words(env.getProperty('ROLLBACK_BOUND'))) + list + [
        'ROLLBACK_COMMAND=' + o.command, 'ROLLBACK_STATE=' + place, 'ROLLBACK_RESULT_FILE=' + place + '/' + o.file,
        'ROLLBACK_YES=true', 'ROLLBACK_JSON=', 'ROLLBACK_PLAN=', 'ROLLBACK_OUT=',
    ] + (o.and ?: [])
    int status = 0
    Map result = [:]
    withEnv(all) {
        status = sh(label: 'rollback ' + o.command, returnStatus: true, encoding: 'UTF-8', script: '''#!/bin/sh
# One command of rollback. What earlier builds left in this workspace is not part of this one.
if [ "$(cat "$ROLLBACK_STATE/build.txt" 2>/dev/null)" != "$BUILD_TAG" ]; then rm -rf "$ROLLBACK_STATE"; fi
mkdir -p "$ROLLBACK_STATE" && printf '%s\\n' "$BUILD_TAG" > "$ROLLBACK_STATE/build.txt" || exit 1
printf 'message=rollback %s ended before it could say how\\n' "$ROLLBACK_COMMAND" > "$ROLLBACK_RESULT_FILE" || exit 1
exec "${ROLLBACK_BINARY:-rollback}" "$ROLLBACK_COMMAND"
''')
        result = parse(readFile(file: place + '/' + o.file, encoding: 'UTF-8'))
    }
    result.put('exit', status.toString())
    return result
}

// parse reads key=value lines.
Map parse(String lines) {
    Map result = [:]
    for (Object line : lines.readLines()) {
        int at = line.toString().indexOf('=')
        if (at > 0) {
            result.put(line.toString().substring(0, at), line.toString().substring(at + 1))
        }
    }
    return result
}

// act is a whole step of one command: checked keys, an agent, the command, its files, its outcome.
Map act(String step, String command, Map args, List own, List and) {
    check(step, args, own)
    boolean changes = command != 'verify' && !(own.contains('dryRun') && yes(step, args, 'dryRun'))
    Map result = [:]
    within(args) {
        result = attempt(command: command, args: args, own: own, file: 'result.txt', and: and, changes: changes)
    }
    return finish(step, args, result)
}

// attempt is perform for a command whose files are kept, whatever happens. One that changes production is in the description of
// the build before it starts: where the build is aborted, or its agent is lost, nobody may read that nothing was done.
Map attempt(Map o) {
    Map result = [:]
    boolean done = false
    if (o.changes) {
        describe(begun(o.args))
    }
    try {
        result = perform(o)
        done = true
    } finally {
        // What fails here hides neither the outcome nor why the build ends: an agent that is gone has no files.
        catchError(buildResult: 'SUCCESS', stageResult: 'SUCCESS', catchInterruptions: false, message: 'rollback: the files of ' + scope(o.args) + ' are not in the archive') {
            keep(o.args)
            if (o.changes && !done) {
                Map left = parse(readFile(file: folder(o.args) + '/' + o.file, encoding: 'UTF-8'))
                if (left.get('exit') != null) {
                    describe(verdict(o.args, left), begun(o.args))
                }
            }
        }
    }
    return result
}

// look is a whole step of a command that only reads: it leaves the build's description alone.
Map look(String step, String command, Map args, List own) {
    check(step, args, own)
    Map result = [:]
    within(args) {
        result = perform(command: command, args: args, own: own, file: command + '.txt')
    }
    if (result.get('exit') != '0') {
        error(step + ' ' + scope(args) + ': ' + (result.get('message') ?: 'exit code ' + result.get('exit')))
    }
    return result
}

// keep archives what the build has of a scope.
void keep(Map args) {
    archiveArtifacts(artifacts: folder(args) + '/**', allowEmptyArchive: true)
}

// finish makes the outcome of a command that of the build: 0 success, 3 unstable, all others a failure.
Map finish(String step, Map args, Map result) {
    String exit = result.get('exit')
    describe(verdict(args, result), begun(args))
    if (exit == '3') {
        unstable('PENDING, build again to go on: ' + said(args, result))
    } else if (unproven(exit)) {
        String state = result.get('production') ?: 'not known'
        error('PRODUCTION CHANGED, NOT VERIFIED. ' + said(args, result) + '. Production: ' + state + '. Look now: ' + status(args))
    } else if (exit != '0') {
        error(step + ' ' + said(args, result))
    }
    return result
}

// verdict is an outcome in the description of a build.
String verdict(Map args, Map result) {
    String exit = result.get('exit')
    String how = exit == '0' ? '' : exit == '3' ? 'PENDING ' : unproven(exit) ? 'PRODUCTION CHANGED, NOT VERIFIED: ' : 'FAILED '
    return how + said(args, result)
}

// unproven tells whether production may have changed: above 128 the program was killed, and nobody knows.
boolean unproven(String exit) {
    return exit == '4' || exit.toInteger() > 128
}

// said is an outcome in words, with its scope and its link.
String said(Map args, Map result) {
    String message = result.get('message') ?: 'exit code ' + result.get('exit')
    String link = result.get('pullRequest') ?: ''
    return (message.startsWith(scope(args)) ? '' : scope(args) + ': ') + message + (link && !message.contains(link) ? ' ' + link : '')
}

// begun is what the description says while a command runs.
String begun(Map args) {
    return 'STARTED ' + scope(args) + ', end not known: ' + status(args)
}

// status is the command that tells how a scope is.
String status(Map args) {
    String service = value(args, 'service')
    String environment = value(args, 'environment')
    return 'rollback status' + (service ? ' --service ' + service : '') + (environment ? ' --environment ' + environment : '')
}

// describe adds a line to the build's description, in place of another; parallel stages have one each.
void describe(String line, String instead = '') {
    List lines = []
    for (Object other : text(currentBuild.description).readLines()) {
        if (other.toString() != instead) {
            lines.add(other.toString())
        }
    }
    lines.add(line)
    currentBuild.description = lines.join('\n')
}
