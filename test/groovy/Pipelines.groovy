import java.nio.file.Files

/** Makes jobs and builds for the tests. */
class Pipelines {
    static Build last
    static int builds = 0, suspensions = 0, largest = 0
    static final File home = Files.createTempDirectory('rollback-groovy-').toFile()
    static final File library = new File(System.getProperty('test.library'))
    private static final Map<Boolean, Controller> controllers = [:]
    private static int jobs = 0

    static Controller controller(boolean sandbox = true) {
        if (!controllers.containsKey(sandbox)) {
            controllers[sandbox] = new Controller(library, sandbox)
        }
        controllers[sandbox]
    }

    static Job job(String name = 'payments-rollback') {
        def dir = new File(home, "${++jobs}")
        dir.mkdirs()
        new Job(name, dir)
    }

    /** What an agent has in its environment: the program on PATH, and nothing of the machine that the tests run on. */
    static Map<String, String> agent(Map more = [:]) {
        def machine = new File(home, 'machine')
        machine.mkdirs()
        [PATH: "${World.bin.path}:/usr/local/bin:/usr/bin:/bin".toString(), HOME: machine.path, LANG: 'C.UTF-8', USER: 'jenkins'] + more
    }

    /** Runs a build of a job and returns it, whatever came of it. */
    static Build build(Map o, String script) {
        def b = new Build([controller: controller(o.sandbox != false), agent: agent(o.world ? o.world.env : [:])] + o + (o.agent ? [agent: o.agent] : [:]))
        ['answers', 'causes', 'watch', 'eachSuspension'].each {
            if (o.containsKey(it)) {
                b[it] = o[it]
            }
        }
        last = b
        try {
            b.controller.run(b, script)
        } finally {
            builds++
            suspensions += b.suspensions
            largest = Math.max(largest, b.largest)
        }
        b
    }

    /** A file of the build's archive, as a Map if it holds key=value lines. */
    static Map<String, String> result(Build b, String path) {
        new File(b.artifacts, path).readLines().findAll { it.contains('=') }.collectEntries { def at = it.indexOf('='); [(it.substring(0, at)): it.substring(at + 1)] }
    }

    /** Removes what the builds left, and never follows a link out of it. */
    static void clean() {
        def all = Files.walk(home.toPath()).collect(java.util.stream.Collectors.toList())
        all.reverse().each { Files.delete(it) }
    }
}
