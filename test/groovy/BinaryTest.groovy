import com.sun.net.httpserver.HttpServer
import static Suite.test
import static Pipelines.*

/** How an agent comes to the program: the script of withRollback, run for real by sh. */
class BinaryTest {
    private HttpServer server
    private int served = 0
    private final Map<String, byte[]> files = [:]
    private final byte[] program = '#!/bin/sh\necho "rollback version 1.4.0"\n'.bytes

    void run() {
        server = HttpServer.create(new InetSocketAddress('127.0.0.1', 0), 0)
        server.executor = java.util.concurrent.Executors.newCachedThreadPool()
        server.createContext('/') { x ->
            synchronized (this) { served++ }
            def body = files[x.requestURI.path]
            x.sendResponseHeaders(body == null ? 404 : 200, body == null ? -1 : body.length)
            if (body != null) {
                x.responseBody.write(body)
            }
            x.close()
        }
        server.start()
        try {
            tests()
        } finally {
            server.stop(0)
            server.executor.shutdown()
        }
    }

    private String sum(byte[] data) { java.security.MessageDigest.getInstance('SHA-256').digest(data).encodeHex().toString() }

    private String getUrl() { "http://127.0.0.1:${server.address.port}/{version}/rollback_{os}_{arch}" }

    /** An agent with tools of its own in front of PATH, and a home of its own. */
    private Map machine(Map<String, String> tools = [:], String path = '/usr/bin:/bin') {
        def dir = java.nio.file.Files.createTempDirectory(home.toPath(), 'agent').toFile()
        def bin = new File(dir, 'bin')
        bin.mkdirs()
        ([uname: 'case $1 in -s) echo Linux ;; -m) echo x86_64 ;; *) echo "Linux x86_64" ;; esac'] + tools).each { name, script ->
            def f = new File(bin, name)
            f.text = '#!/bin/sh\n' + script + '\n'
            f.executable = true
        }
        [PATH: bin.path + ':' + path, HOME: dir.path]
    }

    private Build locate(Map agent, String args, Map o = [:]) {
        served = 0
        build([job: o.job ?: job(), agent: agent, global: o.global ?: [:]], "node { withRollback(${args}) { echo(env.ROLLBACK_BINARY) } }")
    }

    private static String path(Build b) { b.all('echo')[0].args.message }

    private static List<File> cached(Map agent) {
        def dir = new File(agent.HOME, '.cache/rollback')
        def list = []
        if (dir.exists()) {
            dir.eachFileRecurse { list << it }
        }
        list
    }

    private void tests() {
        files['/1.4.0/rollback_linux_amd64'] = program
        test('binary: the program on PATH is taken, and says which version it is') {
            def a = machine([rollback: 'echo "rollback version 0.9"'])
            def b = locate(a, '')
            assert b.result == 'SUCCESS' && path(b).endsWith('/bin/rollback')
            assert b.log.contains('rollback version 0.9')
        }
        test('a program that is named is taken: by path, in the workspace, by name') {
            def a = machine([other: 'echo other 1'])
            assert path(locate(a, "binary: '${a.HOME}/bin/other'")) == a.HOME + '/bin/other'
            assert path(locate(a, "binary: 'other'")) == a.HOME + '/bin/other'
            def j = job()
            def b = build(job: j, agent: a, "node { writeFile(file: 'tools/rb', text: '#!/bin/sh\\necho mine'); sh 'chmod +x tools/rb'; withRollback(binary: 'tools/rb') { dir('sub') { sh '\"\$ROLLBACK_BINARY\"' } } }")
            assert b.result == 'SUCCESS' && b.log.count('mine') == 2
            b = locate(a, "binary: '/nowhere/rollback'")
            assert b.result == 'FAILURE' && b.log.any { it == 'withRollback: binary: there is no program /nowhere/rollback on this agent' }
        }
        test('nothing anywhere: the log says what to do') {
            def b = locate(machine(), '')
            assert b.result == 'FAILURE' && b.log.any { it.contains('there is no rollback on the PATH of this agent; install it, or say binary:') }
        }
        test('downloaded once, checked, and found again') {
            def a = machine(), args = "url: '${url}', version: '1.4.0', sha256: '${sum(program).toUpperCase()}'"
            def b = locate(a, args)
            assert b.result == 'SUCCESS' && served == 1
            assert path(b) == "${a.HOME}/.cache/rollback/1.4.0-${sum(program)}/rollback"
            assert b.log.contains('rollback version 1.4.0')
            b = locate(a, args)
            assert b.result == 'SUCCESS' && served == 0
            def c = build(job: job(), agent: a, "node { withRollback(${args}) { sh(script: '#!/bin/sh\\nrollback status') } }")
            assert c.result == 'SUCCESS' && c.log.count('rollback version 1.4.0') == 2: 'it is not on PATH in the block'
            new File(path(b)).text = 'something else'
            b = locate(a, args)
            assert b.result == 'SUCCESS' && served == 1: 'a cached program was not checked'
            assert cached(a).findAll { it.file }.size() == 1
        }
        [['Linux', 'x86_64', 'linux_amd64'], ['Linux', 'aarch64', 'linux_arm64'], ['Darwin', 'arm64', 'darwin_arm64'], ['Darwin', 'x86_64', 'darwin_amd64']].each { os, cpu, name ->
            test("the right program on ${os} ${cpu}, by the lines of SHA256SUMS") {
                def mine = "#!/bin/sh\necho ${name}\n".toString().bytes
                files['/2.0/rollback_' + name] = mine
                def sums = ['linux_amd64', 'linux_arm64', 'darwin_amd64', 'darwin_arm64'].collect { "${it == name ? sum(mine) : '0' * 64}  ${it == 'darwin_arm64' ? '*' : ''}rollback_${it}" }.join('\\n')
                def b = locate(machine([uname: "case \$1 in -s) echo ${os} ;; -m) echo ${cpu} ;; esac"]), "url: '${url}', version: '2.0', sha256: '${sums}\\n'")
                assert b.result == 'SUCCESS' && b.log.contains(name)
                b = locate(machine([uname: "case \$1 in -s) echo ${os} ;; -m) echo ${cpu} ;; esac"]), "url: '${url}', version: '2.0', sha256: '${sums.replace('\\n', ' ')}'")
                assert b.result == 'SUCCESS' && b.log.contains(name): 'on one line, as a variable of Jenkins has it'
            }
        }
        test('without sha256sum shasum is used, without curl wget') {
            def tools = machine([shasum: 'shift; shift; sha=$(/usr/bin/sha256sum "$1"); echo "$sha"'], '')
            def bin = new File(tools.HOME, 'bin')
            ['sh', 'cat', 'sed', 'awk', 'tr', 'cut', 'mkdir', 'mktemp', 'rm', 'rmdir', 'chmod', 'mv', 'wget'].each { t ->
                def real = ['/usr/bin/', '/bin/'].collect { new File(it + t) }.find { it.exists() }
                java.nio.file.Files.createSymbolicLink(new File(bin, t).toPath(), real.toPath())
            }
            tools.PATH = bin.path
            def b = locate(tools, "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'")
            assert b.result == 'SUCCESS' && served == 1
            new File(bin, 'wget').delete()
            tools.HOME = java.nio.file.Files.createTempDirectory(home.toPath(), 'home').toFile().path
            b = locate(tools, "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'")
            assert b.result == 'FAILURE' && b.log.any { it.contains('neither curl nor wget is on this agent') }
        }
        test('a wrong checksum fails loudly and leaves nothing') {
            def a = machine()
            def b = locate(a, "url: '${url}', version: '1.4.0', sha256: '${'a' * 64}'")
            assert b.result == 'FAILURE'
            assert b.log.any { it.startsWith('withRollback: the checksum of ') && it.contains(sum(program)) && it.endsWith('nothing of it was kept') }
            assert cached(a).isEmpty()
        }
        test('a missing file, and one from nowhere, fail and leave nothing') {
            def a = machine()
            def b = locate(a, "url: '${url}', version: '9.9', sha256: '${sum(program)}'")
            assert b.result == 'FAILURE' && b.log.any { it.contains('/9.9/rollback_linux_amd64 could not be downloaded') }
            assert cached(a).isEmpty()
            b = locate(a, "url: 'file:///nowhere/rollback', version: '9.9', sha256: '${sum(program)}'")
            assert b.result == 'FAILURE' && cached(a).isEmpty()
        }
        test('what is missing of url, version and sha256 is said before anything is fetched') {
            ["url: '${url}', version: '1.4.0'": 'url: needs sha256:', "url: '${url}', sha256: '${sum(program)}'": 'there is no version:',
                "url: '${url}', version: '../1.4|0', sha256: '${sum(program)}'": 'version: ../1.4|0 is none',
                "url: '${url}', version: '1.4.0', sha256: 'abc'": 'has no checksum of rollback_linux_amd64', "url: '${url}', version: '1.4.0', sha256: '${sum(program)}  something_else'": 'has no checksum of'].each { args, text ->
                def b = locate(machine(), args)
                assert b.result == 'FAILURE' && served == 0 && b.log.any { it.contains(text) }: args
            }
        }
        test('an operating system without a program is named') {
            def b = locate(machine([uname: 'case $1 in -s) echo SunOS ;; -m) echo sparc ;; esac']), "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'")
            assert b.result == 'FAILURE' && b.log.any { it.contains('there is no rollback for SunOS') }
            b = locate(machine([uname: 'case $1 in -s) echo Linux ;; -m) echo riscv64 ;; esac']), "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'")
            assert b.result == 'FAILURE' && b.log.any { it.contains('there is no rollback for riscv64') }
        }
        test('two builds at once: both find a whole program, and nothing is left over') {
            def a = machine(), gate = new java.util.concurrent.CyclicBarrier(2)
            def slow = "http://127.0.0.1:${server.address.port}/slow/rollback_{os}_{arch}"
            server.createContext('/slow/') { x -> // answers the two together, so that they surely meet
                gate.await(60, java.util.concurrent.TimeUnit.SECONDS)
                x.sendResponseHeaders(200, program.length)
                x.responseBody.write(program)
                x.close()
            }
            def script = new File(home, 'locate.sh')
            script.text = build(job: job(), agent: machine([rollback: 'echo x']), 'node { withRollback { } }').all('sh')[0].args.script
            script.executable = true
            def racers = (1..2).collect {
                def p = new ProcessBuilder(script.path).redirectErrorStream(true)
                p.environment().clear()
                p.environment().putAll(a + [ROLLBACK_URL: slow.toString(), ROLLBACK_VERSION: '3', ROLLBACK_SHA256: sum(program)])
                p.start()
            }
            def said = racers.collect { it.inputStream.text }
            assert racers*.waitFor() == [0, 0]: said
            assert said.every { it.contains('rollback version 1.4.0') }
            assert cached(a).findAll { it.file }*.name == ['rollback']
        }
        test('a home that cannot be written to: the folder beside the workspace is used') {
            def a = machine()
            a.HOME = '/proc'
            assert locate(a + [HOME: ''], "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'").result == 'SUCCESS'
            def b = locate(a, "url: '${url}', version: '1.4.0', sha256: '${sum(program)}'")
            assert b.result == 'SUCCESS' && path(b).contains('@tmp/rollback/1.4.0-')
        }
        test('air-gapped: a file on the agent, and variables of Jenkins instead of keys') {
            def dir = java.nio.file.Files.createTempDirectory(home.toPath(), 'mirror').toFile()
            new File(dir, 'rollback_linux_amd64').bytes = program
            def b = locate(machine(), '', [global: [ROLLBACK_URL: "file://${dir}/rollback_{os}_{arch}".toString(), ROLLBACK_VERSION: '1.4.0', ROLLBACK_SHA256: sum(program)]])
            assert b.result == 'SUCCESS' && served == 0 && path(b).contains('/1.4.0-')
        }
        test('a build says its version once, and again only where it is another') {
            def a = machine([rollback: 'echo "rollback version 0.9"', older: 'echo "rollback version 0.8"'])
            def b = build(job: job(), agent: a, "node { withRollback { }; withRollback { }; withRollback(binary: 'older') { }; withRollback { } }")
            assert b.result == 'SUCCESS' && b.log.findAll { it.startsWith('rollback version') } == ['rollback version 0.9', 'rollback version 0.8']
            b = build(job: job(), agent: a, "parallel(a: { withRollback { echo('x') } }, b: { withRollback { echo('y') } }, c: { withRollback { echo('z') } })")
            assert b.result == 'SUCCESS' && b.log.count('rollback version 0.9') == 1
        }
        test('within withRollback the program is not looked for again, unless another is named') {
            def a = machine([rollback: 'echo "rollback version 0.9"'])
            def b = build(job: job(), agent: a, "node { withRollback { withRollback(service: 'payments') { echo(env.ROLLBACK_BINARY) }; withRollback(binary: '${a.HOME}/bin/uname') { echo(env.ROLLBACK_BINARY) } } }")
            assert b.result == 'SUCCESS'
            assert b.all('sh').size() == 2
            assert b.all('echo')*.args*.message == [a.HOME + '/bin/rollback', a.HOME + '/bin/uname']
        }
    }
}
