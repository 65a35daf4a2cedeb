/**
 * Reads a declarative pipeline as strictly as its plugin does: each section in its place, known options, conditions and steps,
 * no `sh` without an agent. It runs no step; it says which stages would run and what they would do.
 */
class Declarative {
    final Map params
    final String cause
    final List<String> stages = []           // that run
    final List<StepCall> steps = []          // of these, in order; those of post as well
    final Map<String, String> environment = [:]
    List parameters = []

    private Declarative(Map o) {
        params = o.params ?: [:]
        cause = o.cause
    }

    static Declarative read(Map o = [:], File file) {
        def d = new Declarative(o)
        def top = new Section(d, 'the file', [pipeline: { Closure body -> d.pipeline(body) }, library: { String name -> }])
        def script = new GroovyShell().parse(file.text.replaceFirst(/(?m)^@Library.*$/, ''))
        script.metaClass.methodMissing = { String name, args -> top.invoke(name, args as List) }
        script.metaClass.propertyMissing = { String name -> top.find(name) }
        script.run()
        assert !d.stages.isEmpty() || o.quiet: 'no stage runs'
        d
    }

    private void pipeline(Closure body) {
        String agent = null
        def section = new Section(this, 'pipeline', [
            agent: { a -> agent = a }, options: options('pipeline'), triggers: { Closure b -> new Section(this, 'triggers', [cron: { String spec -> assert spec.tokenize().size() == 5 }]).fill(b) },
            parameters: { Closure b -> new Section(this, 'parameters', ['choice', 'string', 'booleanParam'].collectEntries { kind -> [kind, { Map a -> parameters << Steps.describable(kind, [a]) }] }).fill(b) },
            environment: variables(), post: post({ agent != 'none' }),
            stages: { Closure b -> new Section(this, 'stages', [stage: { String name, Closure s -> stage(name, agent != 'none', s) }]).fill(b) },
        ]).fill(body)
        ['agent', 'stages'].each { assert section.seen.contains(it): "pipeline needs ${it}" }
    }

    private Closure options(String where) {
        return { Closure b ->
            new Section(this, "options of ${where}", [
                disableConcurrentBuilds: { Map a = [:] -> }, skipDefaultCheckout: { -> }, logRotator: { Map a -> assert a.keySet().every { it in ['numToKeepStr', 'daysToKeepStr', 'artifactNumToKeepStr', 'artifactDaysToKeepStr'] }; a },
                buildDiscarder: { a -> assert a instanceof Map }, timeout: { Map a -> assert a.time instanceof Integer && a.unit in ['MINUTES', 'HOURS'] },
            ]).fill(b)
        }
    }

    private Closure variables() {
        return { Closure b -> new Section(this, 'environment', [credentials: { String id -> id }], { name, value -> environment[name] = value.toString() }).fill(b) }
    }

    private Closure post(Closure onAgent) {
        return { Closure b ->
            new Section(this, 'post', ['always', 'success', 'failure', 'unstable', 'aborted', 'changed', 'cleanup'].collectEntries { [it, { Closure s -> run(s, onAgent()) }] }).fill(b)
        }
    }

    private void stage(String name, boolean onAgent, Closure body) {
        boolean runs = true
        Closure todo = null, after = null
        def section = new Section(this, "stage ${name}", [
            agent: { a -> onAgent = a != 'none' }, options: options("stage ${name}"), environment: variables(),
            when: { Closure b ->
                new Section(this, "when of ${name}", [
                    beforeAgent: { boolean yes -> }, expression: { Closure e -> runs &= ask(e) },
                    triggeredBy: { String c -> runs &= c == cause }, branch: { String c -> },
                ]).fill(b)
            },
            steps: { Closure b -> todo = b }, post: { Closure b -> after = b },
        ]).fill(body)
        assert section.seen.contains('steps'): "stage ${name} needs steps"
        if (runs) {
            stages << name
            run(todo, onAgent)
            if (after != null) {
                post({ onAgent }).call(after)
            }
        }
    }

    private boolean ask(Closure e) {
        def section = new Section(this, 'expression', [:])
        e.delegate = section
        e.resolveStrategy = Closure.DELEGATE_ONLY
        e() as boolean
    }

    private void run(Closure body, boolean onAgent) {
        def known = ['sh', 'echo', 'archiveArtifacts', 'milestone', 'error', 'lock'] + (new File(System.getProperty('test.library'), 'vars').list().findAll { it.endsWith('.groovy') }*.replace('.groovy', ''))
        new Section(this, 'steps', known.collectEntries { name ->
            [name, { Object... args ->
                assert onAgent || !(name in ['sh', 'archiveArtifacts']): "${name} needs an agent"
                steps << (Steps.isStep(name) ? Steps.call(name, args as List) : new StepCall(name: name, args: args ? (Map) args[0] : [:]))
            }]
        } + [libraryResource: { String name -> name }]).fill(body)
    }
}

/** A block and what may stand in it. */
class Section {
    final Declarative d
    final String where
    final Map<String, Closure> takes
    final Closure set
    final Set<String> seen = []

    Section(Declarative d, String where, Map<String, Closure> takes, Closure set = null) {
        this.d = d; this.where = where; this.takes = takes; this.set = set
    }

    Object invoke(String name, List args) {
        assert takes.containsKey(name): "${name} may not stand in ${where}; ${takes.keySet()} may"
        seen << name
        takes[name].call(*args)
    }

    Object find(String name) {
        if (name == 'params') { return d.params }
        if (name in ['any', 'none']) { return name }
        if (name in ['WORKSPACE', 'BUILD_TAG', 'env']) { return '$' + name }
        throw new AssertionError("nothing is called ${name} in ${where}")
    }

    Object methodMissing(String name, Object args) { invoke(name, args as List) }

    Object propertyMissing(String name) { find(name) }

    void propertyMissing(String name, Object value) {
        assert set != null: "${name} may not be set in ${where}"
        set(name, value)
    }

    Section fill(Closure body) {
        body.delegate = this
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body()
        this
    }
}
