import java.nio.file.*
import java.util.concurrent.TimeUnit

/** A job of the controller: it keeps its parameters and its workspaces from one build to the next. */
class Job {
    final String name
    final File home
    /** What properties() or a person has defined; empty before the first build. */
    List<Describable> definitions = []
    /** Whether the definitions are replaced by the next properties(): a run has set them, or a note of who made the job says so. */
    boolean tracked
    boolean concurrent = true
    int builds = 0

    Job(String name, File home) {
        this.name = name
        this.home = home
    }
}

/** One build: what its steps do, and all that they have done. */
class Build {
    static Build current
    static Context context // of the fiber at work

    final Job job
    final int number
    final Controller controller
    /** The environment of the agents, and variables of Jenkins itself. */
    final Map<String, String> agent, global
    /** Credentials by id: a text, [user, password], or a file's text under `file`. */
    final Map<String, Object> credentials
    /** What the page of the job was filled in with. */
    final Map<String, Object> params
    private final Map<String, String> exported = [:] // parameters that the job had when the build started
    List causes = [[_class: 'hudson.model.Cause$UserIdCause', userId: 'alice', userName: 'Alice']]
    /** Answers to input, by id: a value, or a closure over the call; Interrupted aborts. */
    Map<String, Object> answers = [:]
    /** Called with each line that a program prints, and the process. */
    Closure watch
    /** Runs after each suspension. */
    Closure eachSuspension = {}

    final List<String> log = []
    final List<Map> steps = []
    final List<String> descriptions = []
    String result, description
    Throwable failure
    Object returned
    /** Set by a test: the build is aborted; its agent is gone; the controller's disk is full. */
    boolean aborted, lost, full
    int suspensions, largest, nodes
    private final StringBuilder raw = new StringBuilder() // what programs printed before it was masked

    Build(Map o) {
        job = o.job
        number = ++job.builds
        controller = o.controller
        agent = o.agent ?: [:]
        global = new LinkedHashMap(o.global ?: [:])
        credentials = o.credentials ?: [:]
        def given = o.params ?: [:]
        params = [:]
        job.definitions.each { d ->
            def value = given.containsKey(d.args.name) ? given[d.args.name] : defaultOf(d)
            params[d.args.name] = value
            exported[d.args.name] = value.toString()
        }
        def unknown = given.keySet() - params.keySet() // Jenkins drops them without a word; a test that counts on them is wrong
        if (unknown) {
            throw new AssertionError("the job has no parameters ${unknown}")
        }
    }

    static Object defaultOf(Describable d) {
        d.symbol == 'choice' ? d.args.choices[0] : d.symbol == 'booleanParam' ? d.args.defaultValue == true : (d.args.defaultValue ?: '')
    }

    Object variable(String name) { controller.variable(name) }

    void resumed() { eachSuspension(this) }

    File getArtifacts() { new File(job.home, "builds/${number}/archive") }

    void describe(String text) {
        description = text
        descriptions << text
    }

    /** What env and sh see. */
    Map<String, String> environment(Context c) {
        def env = [:]
        if (c.node) {
            env.putAll(agent)
        }
        env.putAll(global)
        exported.each { k, v ->
            if (v != '') {
                env[k] = v
            }
        }
        env.putAll([CI: 'true', JENKINS_URL: 'http://127.0.0.1:1/', JOB_NAME: job.name, JOB_BASE_NAME: job.name, BUILD_NUMBER: "$number".toString(), BUILD_ID: "$number".toString(),
            BUILD_TAG: "jenkins-${job.name}-${number}".toString(), BUILD_URL: "http://127.0.0.1:1/job/${job.name}/${number}/".toString(),
            JOB_URL: "http://127.0.0.1:1/job/${job.name}/".toString()])
        // WorkflowRun.getEnvironment ends with EnvVars.resolve: parameters take the values of variables in. withEnv does not.
        def run = new LinkedHashMap(env)
        exported.keySet().each { k ->
            if (env[k]) {
                env[k] = env[k].replaceAll(/\$([A-Za-z0-9_]+|\{[A-Za-z0-9_.]+\}|\$)/) { all, name -> name == '$' ? '$' : run[name.replaceAll(/[{}]/, '')] ?: all }
            }
        }
        if (c.node) {
            env.putAll([NODE_NAME: c.node, EXECUTOR_NUMBER: '0', WORKSPACE: c.workspace, WORKSPACE_TMP: c.workspace + '@tmp'])
        }
        c.env.each { k, v ->
            if (v == '') {
                env.remove(k)
            } else if (k.startsWith('PATH+')) {
                env.PATH = v + ':' + env.PATH
            } else {
                env[k] = v
            }
        }
        env
    }

    void parallel(StepCall call, Context c) { record(call, c) }

    private void record(StepCall call, Context c) {
        steps << [name: call.name, args: call.args.findAll { !(it.value instanceof Closure) }, node: c.node, branch: c.branch]
        say((c.branch ? "[${c.branch}] " : '') + "[Pipeline] ${call.name}", c)
    }

    void say(String line, Context c) {
        c.secrets.each { line = line.replace(it, '****') }
        log << line
    }

    /** Opens the block of a step, and returns where its body runs. */
    Context enter(StepCall call, Context c) {
        record(call, c)
        switch (call.name) {
            case 'node':
                nodes++
                def label = call.args.label ?: 'any'
                def workspace = new File(job.home, "agents/${label}/workspace/${job.name}")
                workspace.mkdirs()
                new File(workspace.path + '@tmp').mkdirs()
                say("Running on ${label} in ${workspace.path}", c)
                return c.plus(node: label, workspace: workspace.path, dir: workspace.path)
            case 'stage':
                say("[Pipeline] { (${call.args.name})", c)
                return c.plus([:])
            case 'timeout':
                say("Timeout set to expire in ${call.args.time} ${call.args.unit?.toLowerCase() ?: 'minutes'}", c)
                return c.plus([:])
            case 'lock':
            case 'catchError': return c.plus([:])
            case 'dir':
                needsNode(call, c)
                def d = new File(c.dir, call.args.path)
                d.mkdirs()
                return c.plus(dir: d.path)
            case 'withEnv':
                def env = new LinkedHashMap(c.env)
                call.args.overrides.each { kv ->
                    if (!(kv instanceof String)) {
                        throw new AssertionError("withEnv was given a ${kv.getClass().name}: ${kv}")
                    }
                    def at = kv.indexOf('=')
                    if (at < 1) {
                        throw new AssertionError("withEnv: ${kv} is no assignment")
                    }
                    env[kv.substring(0, at)] = kv.substring(at + 1)
                }
                return c.plus(env: env)
            case 'withCredentials':
                return bind(call, c)
        }
        throw new AssertionError("no block ${call.name}")
    }

    private Context bind(StepCall call, Context c) {
        def env = new LinkedHashMap(c.env), secrets = new ArrayList(c.secrets), names = []
        call.args.bindings.each { Describable d ->
            def id = d.args.credentialsId, held = credentials[id]
            if (held == null) {
                throw new PipelineException("Could not find credentials entry with ID '${id}'")
            }
            switch (d.symbol) {
                case 'string':
                    assert held instanceof String: "$id is no secret text"
                    env[d.args.variable] = held
                    secrets << held
                    names << d.args.variable
                    break
                case 'usernamePassword':
                    assert held instanceof List: "$id is no user name and password"
                    env[d.args.usernameVariable] = held[0]
                    env[d.args.passwordVariable] = held[1]
                    secrets << held[1]
                    names << d.args.usernameVariable << d.args.passwordVariable
                    break
                case 'file':
                    assert held instanceof Map: "$id is no secret file"
                    needsNode(call, c)
                    def f = new File(c.workspace + '@tmp', "secretFiles/${UUID.randomUUID()}/secret")
                    f.parentFile.mkdirs()
                    f.text = held.file
                    env[d.args.variable] = f.path
                    secrets << f.path
                    names << d.args.variable
                    break
                default:
                    throw new AssertionError("${d.symbol} binds nothing")
            }
        }
        say("Masking supported pattern matches of ${names.collect { '$' + it }.join(' or ')}", c)
        c.plus(env: env, secrets: secrets)
    }

    /** A block has ended. */
    void left(String step, Context c) {
        if (step == 'withCredentials' && c.workspace) {
            new File(c.workspace + '@tmp', 'secretFiles').deleteDir()
        }
        say("[Pipeline] // ${step == 'branch' ? 'parallel' : step}", c)
    }

    /** Whether catchError goes on after this; by default the build has failed then. */
    boolean caught(Map args, Throwable t, Context c) {
        if (!(t instanceof PipelineException) || t instanceof Interrupted && args.catchInterruptions == false) {
            return false
        }
        if (args.message) {
            say("ERROR: ${args.message}", c)
        }
        say('ERROR: ' + t.message, c)
        def becomes = args.containsKey('buildResult') ? args.buildResult : 'FAILURE'
        if (becomes != 'SUCCESS') {
            result = becomes
        }
        true
    }

    private void needsNode(StepCall call, Context c) {
        if (!c.node || lost) {
            throw new PipelineException("Required context class hudson.FilePath is missing. Perhaps you forgot to surround the ${call.name} step with a step that provides this, such as: node")
        }
    }

    /** Runs a step without a block. */
    Object step(StepCall call, Context c) {
        record(call, c)
        def a = call.args
        switch (call.name) {
            case 'echo':
                say(a.message.toString(), c)
                return null
            case 'error':
                throw new PipelineException(a.message.toString())
            case 'unstable':
                say('WARNING: ' + a.message, c)
                if (result == null) {
                    result = 'UNSTABLE'
                }
                return null
            case 'input': return answer(call, c)
            case 'properties':
                job.concurrent = !a.properties.any { it.symbol == 'disableConcurrentBuilds' }
                a.properties.each { Describable d ->
                    if (d.symbol == 'parameters') {
                        job.definitions = (job.tracked ? [] : job.definitions) + d.args.definitions // JobPropertyStep adds to what it does not know of
                        job.tracked = true
                        d.args.definitions.each { p -> // the run that introduces a parameter sees it in params alone
                            if (!params.containsKey(p.args.name)) {
                                params[p.args.name] = defaultOf(p)
                            }
                        }
                    }
                }
                return null
            case 'libraryResource':
                return new File(controller.library, 'resources/' + a.resource).getText('UTF-8') // the documents do not burden themselves with its encoding
        }
        needsNode(call, c)
        switch (call.name) {
            case 'sh': return sh(call, c)
            case 'readFile':
                def f = at(c, a.file)
                if (!f.file) {
                    throw new PipelineException("java.nio.file.NoSuchFileException: ${f}")
                }
                return f.getText(charset(call))
            case 'writeFile':
                def f = at(c, a.file)
                f.parentFile.mkdirs()
                f.setText(a.text.toString(), charset(call))
                return null
            case 'fileExists': return at(c, a.file).exists()
            case 'deleteDir':
                new File(c.dir).deleteDir()
                return null
            case 'archiveArtifacts':
                def pattern = a.artifacts.toString()
                assert pattern.endsWith('/**'): "the harness knows folder/** only, not ${pattern}"
                def from = new File(c.dir, pattern - '/**'), n = 0
                say('Archiving artifacts', c)
                if (full) {
                    throw new PipelineException('java.io.IOException: No space left on device')
                }
                if (from.directory) {
                    from.eachFileRecurse(groovy.io.FileType.FILES) { f ->
                        def to = new File(artifacts, new File(c.dir).toPath().relativize(f.toPath()).toString())
                        to.parentFile.mkdirs()
                        Files.copy(f.toPath(), to.toPath(), StandardCopyOption.REPLACE_EXISTING)
                        n++
                    }
                }
                if (n == 0 && !a.allowEmptyArchive) {
                    throw new PipelineException("No artifacts found that match the file pattern \"${pattern}\"")
                }
                return null
        }
        throw new AssertionError("no step ${call.name}")
    }

    /** What a step reads and writes: without `encoding` it is what the machine happens to have, which here is the poorest there is. */
    private static String charset(StepCall call) { call.args.encoding ?: 'US-ASCII' }

    private static File at(Context c, path) {
        def p = new File(path.toString())
        p.absolute ? p : new File(c.dir, path.toString())
    }

    private Object answer(StepCall call, Context c) {
        def id = call.args.id ?: UUID.randomUUID().toString()
        assert id[0] == id[0].toUpperCase(): "Jenkins would make ${id[0].toUpperCase()} of the id ${id}"
        if (!answers.containsKey(id)) {
            throw new AssertionError("nobody answers the input ${id}: ${call.args.message}")
        }
        if (call.args.parameters) { // its message is on the page of the question alone
            say('Input requested', c)
        } else {
            say(call.args.message.toString(), c)
            say("${call.args.ok ?: 'Proceed'} or Abort", c)
        }
        def said = answers[id] instanceof Closure ? answers[id].call(call.args) : answers[id]
        if (said instanceof Interrupted) {
            aborted = true
            throw said
        }
        def who = said instanceof Map ? said[call.args.submitterParameter] : call.args.submitterParameter ? said : null
        if (who) {
            say("Approved by ${who}", c)
        }
        if (call.args.parameters) {
            def choices = call.args.parameters[0].args.choices
            if (said != null && choices != null && !choices.contains(said)) {
                throw new AssertionError("Jenkins would refuse ${said}: the choices are ${choices}")
            }
        }
        said
    }

    private Object sh(StepCall call, Context c) {
        def script = call.args.script.toString()
        def file = File.createTempFile('script', '.sh', new File(c.workspace + '@tmp'))
        file.text = script
        file.executable = true
        def p = new ProcessBuilder(script.startsWith('#!') ? [file.path] : ['/bin/sh', '-xe', file.path])
        p.directory(new File(c.dir))
        p.environment().clear()
        p.environment().putAll(environment(c))
        def apart = call.args.returnStdout == true // otherwise Jenkins writes both to the log as they come
        p.redirectErrorStream(!apart)
        def process = p.start()
        process.outputStream.close()
        def out = new StringBuilder()
        def readers = [[process.inputStream, apart], [process.errorStream, false]].collect { stream, keep ->
            Thread.start {
                stream.eachLine(charset(call)) { line ->
                    synchronized (this) {
                        raw << line << '\n'
                        if (keep) {
                            out << line << '\n'
                        } else {
                            say(line, c)
                        }
                        watch?.call(this, line, process)
                    }
                }
            }
        }
        if (!process.waitFor(120, TimeUnit.SECONDS)) {
            process.destroyForcibly()
            throw new AssertionError('a program did not end in 120 s')
        }
        readers*.join()
        file.delete()
        def secret = secrets().find { raw.indexOf(it) >= 0 }
        assert secret == null: 'a program printed a secret'
        if (lost) {
            throw new PipelineException("Agent ${c.node} was deleted; cancelling node body")
        }
        if (aborted) {
            throw new Interrupted('aborted')
        }
        def status = process.exitValue()
        if (call.args.returnStatus) {
            return status
        }
        if (status != 0) {
            throw new PipelineException("script returned exit code ${status}")
        }
        call.args.returnStdout ? out.toString() : null
    }

    /** All that must not be seen. */
    List<String> secrets() {
        credentials.values().collectMany { it instanceof List ? [it[1]] : it instanceof Map ? [it.file] : [it] }.findAll { it.toString().length() > 3 }
    }

    void failed(Throwable t) {
        failure = t
        result = aborted ? 'ABORTED' : 'FAILURE'
        if (t instanceof PipelineException) {
            log << (aborted ? 'Aborted' : 'ERROR: ' + t.message)
        } else {
            throw new AssertionError("the pipeline failed by itself: ${t}", t)
        }
    }

    /** Looks at the end for secrets in whatever was recorded. */
    void close() {
        def all = log.join('\n') + steps.toString() + descriptions.toString() + (artifacts.exists() ? artifacts.listFiles().collect { textsOf(it) }.join('\n') : '')
        secrets().each { assert !all.contains(it): 'a secret is in the log, in the argument of a step, or in an artifact' }
        log << "Finished: ${result}".toString()
    }

    private static String textsOf(File f) { f.directory ? f.listFiles().collect { textsOf(it) }.join('\n') : f.text }

    List<String> names() { steps*.name }

    Map step(String name) { steps.find { it.name == name } }

    List<Map> all(String name) { steps.findAll { it.name == name } }
}
