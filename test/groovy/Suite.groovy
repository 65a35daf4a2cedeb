/** Runs the tests of one class after the other, and counts. */
class Suite {
    static int passed = 0
    static final List<String> failed = []
    static final String only = System.getProperty('test.only') ?: ''
    static final Map<String, Long> took = [:]

    static void test(String name, Closure body) {
        if (only && !name.contains(only)) {
            return
        }
        def begun = System.currentTimeMillis()
        try {
            body()
            passed++
        } catch (Throwable t) {
            failed << name
            def trace = new StringWriter()
            t.printStackTrace(new PrintWriter(trace))
            println "--- FAILED: ${name}\n" + trace.toString().readLines().findAll { !it.startsWith('\tat ') || it =~ /\(\w+\.groovy:\d+\)/ }.take(30).join('\n')
            if (Pipelines.last) {
                println '    log of its last build:\n' + Pipelines.last.log.collect { '      ' + it }.join('\n')
            }
        }
        if (System.getProperty('test.log')) {
            println Pipelines.last?.log?.join('\n')
        }
        Pipelines.last = null
        took[name] = System.currentTimeMillis() - begun
    }

    static void main(String[] args) {
        def begun = System.currentTimeMillis(), classes = System.getProperty('test.classes')?.split(',')
        ['StageTest', 'ActsTest', 'AgentTest', 'BinaryTest', 'ParametersTest', 'DeclarativeTest', 'LogTest', 'SafetyTest'].findAll { !classes || classes.contains(it) }.each { Class.forName(it).newInstance().run() }
        World.end()
        Pipelines.clean()
        took.sort { -it.value }.take(System.getProperty('test.slow') ? 12 : 0).each { k, v -> println "${v} ms  ${k}" }
        println "Groovy ${GroovySystem.version}, ${(System.currentTimeMillis() - begun).intdiv(1000)} s; ${Pipelines.builds} builds, ${Pipelines.suspensions} restarts at a step, the largest program ${Pipelines.largest} bytes"
        println "${passed} passed, ${failed.size()} failed"
        System.exit(failed || passed == 0 ? 1 : 0)
    }
}
