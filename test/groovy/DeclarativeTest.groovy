import static Suite.test

/** The declarative pipelines of this repository: its own, and the one that services start from. */
class DeclarativeTest {
    static final File library = new File(System.getProperty('test.library'))

    void run() {
        def own = new File(library, 'Jenkinsfile'), service = new File(library, 'docs/examples/Jenkinsfile.service')

        test('the Jenkinsfile of this project runs its stages in order, the drill at night only') {
            def d = Declarative.read(own)
            assert d.stages == ['Lint', 'Test', 'End to end', 'Build']
            assert d.steps.any { it.name == 'archiveArtifacts' && it.args.artifacts == 'dist/*' }
            assert Declarative.read(own, cause: 'TimerTrigger').stages == d.stages + 'Drill'
        }
        test('what the Jenkinsfile tells make to do, make can do, and its scripts are shell') {
            def targets = (new File(library, 'Makefile').text =~ /(?m)^([a-z0-9-]+):/).collect { it[1] }
            def scripts = Declarative.read(own, cause: 'TimerTrigger').steps.findAll { it.name == 'sh' }*.args*.script
            assert scripts.size() >= 5
            scripts.each { String script ->
                def sh = new ProcessBuilder('sh', '-n').redirectErrorStream(true).start()
                sh.outputStream.withWriter('UTF-8') { it << script }
                assert sh.inputStream.text == '' && sh.waitFor() == 0: script
                (script =~ /(?m)^\s*make (.*)$/).each { assert it[1].tokenize().every { targets.contains(it) }: it[0] }
            }
        }
        test('docs/examples/Jenkinsfile.service deploys, or rolls back, never both') {
            def d = Declarative.read(service, params: [ROLLBACK_METHOD: 'none'])
            assert d.stages == ['Build and deploy'] && d.steps*.name == ['milestone', 'sh']
            d = Declarative.read(service, params: [ROLLBACK_METHOD: 'retag'])
            assert d.stages == ['Stop deployments', 'Rollback'] && d.steps*.name == ['milestone', 'rollbackStage']
            assert Declarative.read(service, params: [ROLLBACK_METHOD: 'retag', ROLLBACK_DRY_RUN: true]).stages == ['Rollback']: 'a dry run stops a deployment'
            assert d.steps[1].args.service == 'payments' && d.steps[1].args.node == 'deploy'
            assert d.parameters*.args*.name == ParametersTest.PAGE
        }
        test('what a controller would refuse is refused') {
            [
                "pipeline { agent any\n stages { stage('A') { } } }": 'needs steps',
                "pipeline { stages { stage('A') { steps { sh 'true' } } } }": 'pipeline needs agent',
                "pipeline { agent none\n stages { stage('A') { steps { sh 'true' } } } }": 'sh needs an agent',
                "pipeline { agent any\n stages { stage('A') { steps { timestamps() } } } }": 'timestamps may not stand in steps',
                "pipeline { agent any\n steps { sh 'true' } }": 'steps may not stand in pipeline',
                "pipeline { agent any\n triggers { cron('H 3 * *') }\n stages { stage('A') { steps { sh 'true' } } } }": 'spec.tokenize()',
                "pipeline { agent any\n options { timestamps() }\n stages { stage('A') { steps { sh 'true' } } } }": 'timestamps may not stand in options',
                "pipeline { agent any\n stages { stage('A') { steps { archiveArtifacts artifact: 'x' } } } }": 'takes no artifact',
            ].each { text, why ->
                def file = File.createTempFile('Jenkinsfile', '')
                try {
                    file.text = text
                    Declarative.read(file)
                    assert false: "accepted: ${text}"
                } catch (Error e) {
                    assert e.message.contains(why): "${text}: ${e.message}"
                } finally {
                    file.delete()
                }
            }
        }
    }
}
