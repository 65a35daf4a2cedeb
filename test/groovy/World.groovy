/** A loopback world, served by test/groovy/world, and the program that is tested against it. */
class World {
    private static Process server
    private static BufferedReader said
    static final File bin = new File(System.getProperty('test.bin'))

    final Map<String, String> env, facts

    World() {
        if (server == null) {
            server = new ProcessBuilder(new File(bin, 'world').path).redirectError(ProcessBuilder.Redirect.INHERIT).start()
            said = new BufferedReader(new InputStreamReader(server.inputStream))
        }
        def all = ask('new').collectEntries { def at = it.indexOf('='); [(it.substring(0, at)): it.substring(at + 1)] }
        facts = all.findAll { it.key.startsWith('WORLD_') }
        env = (all - facts).findAll { !(it.key in ['ROLLBACK_USER', 'ROLLBACK_STATE']) }
    }

    List<String> ask(String command) {
        server.outputStream << command << '\n'
        server.outputStream.flush()
        def lines = []
        while (true) {
            def line = said.readLine()
            if (line == null) {
                throw new AssertionError('the world has ended')
            }
            if (line == 'ok') {
                return lines
            }
            if (line.startsWith('error ')) {
                throw new AssertionError("the world: ${line}")
            }
            lines << line
        }
    }

    void merge() { ask('merge') }

    /** The one digest that all pods of a service run. */
    String running(String service = 'payments') {
        def lines = ask("running ${service}")
        assert lines.size() == 1: "${service} runs ${lines}"
        lines[0].substring(0, lines[0].indexOf('='))
    }

    static void end() {
        server?.outputStream?.close()
        server?.waitFor()
    }
}
