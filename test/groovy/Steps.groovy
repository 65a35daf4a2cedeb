/** The steps and symbols that a stock controller has with the Pipeline plugins, and what each of them takes. */
class Steps {
    /** name → arguments; the first is the one that may be given without its name; ! means required. */
    private static final Map<String, List<String>> STEPS = [
        node: ['label'], stage: ['name!'], withEnv: ['overrides!'], withCredentials: ['bindings!'], timeout: ['time!', 'unit', 'activity'],
        catchError: ['message', 'buildResult', 'stageResult', 'catchInterruptions'], dir: ['path!'],
        echo: ['message!'], error: ['message!'], unstable: ['message!'], sh: ['script!', 'label', 'returnStatus', 'returnStdout', 'encoding'],
        readFile: ['file!', 'encoding'], writeFile: ['file!', 'text!', 'encoding'], fileExists: ['file!'], deleteDir: [],
        archiveArtifacts: ['artifacts!', 'allowEmptyArchive', 'fingerprint', 'excludes', 'onlyIfSuccessful'],
        input: ['message!', 'id', 'ok', 'submitter', 'submitterParameter', 'parameters'],
        lock: ['resource'], milestone: ['ordinal'], // of plugins of their own: for docs/examples, not for the library
        properties: ['properties!'], libraryResource: ['resource!', 'encoding'], parallel: null,
    ]
    private static final List BLOCKS = ['node', 'stage', 'withEnv', 'withCredentials', 'timeout', 'catchError', 'dir', 'lock']
    /** Symbols, by where they stand; `string` is one of both worlds. */
    private static final Map<String, List<List<String>>> SYMBOLS = [
        string: [['name', 'defaultValue', 'description', 'trim'], ['credentialsId', 'variable']],
        choice: [['name', 'choices', 'description']], booleanParam: [['name', 'defaultValue', 'description']],
        usernamePassword: [['credentialsId', 'usernameVariable', 'passwordVariable']], file: [['credentialsId', 'variable'], ['name', 'description']],
        parameters: [['definitions']], disableConcurrentBuilds: [['abortPrevious']], buildDiscarder: [['strategy']],
    ]

    static boolean isStep(String name) { STEPS.containsKey(name) }

    static boolean isDescribable(String name) { SYMBOLS.containsKey(name) }

    static StepCall call(String name, List list) {
        def call = new StepCall(name: name)
        list = new ArrayList(list)
        if (name != 'parallel' && list && list.last() instanceof Closure) {
            call.body = (Closure) list.remove(list.size() - 1)
        }
        def takes = STEPS[name]
        if (list.size() == 1 && list[0] instanceof Map) {
            call.args = new LinkedHashMap((Map) list[0])
        } else if (list.size() == 1) {
            call.args[takes[0].replace('!', '')] = list[0]
        } else if (list.size() > 1) {
            throw new AssertionError("${name} is called with ${list.size()} arguments without names")
        }
        if (takes != null) {
            call.args.keySet().each { key ->
                if (!takes.any { it.replace('!', '') == key }) {
                    throw new AssertionError("the step ${name} takes no ${key}")
                }
            }
            takes.findAll { it.endsWith('!') }.each {
                if (call.args[it.replace('!', '')] == null) {
                    throw new AssertionError("the step ${name} needs ${it.replace('!', '')}")
                }
            }
        }
        if (BLOCKS.contains(name) != (call.body != null)) {
            throw new AssertionError("the step ${name} ${BLOCKS.contains(name) ? 'needs a' : 'takes no'} block")
        }
        if (call.args.values().any { it instanceof GString } && name == 'sh') {
            throw new AssertionError('sh was given a text with values put into it')
        }
        call
    }

    static Describable describable(String symbol, List list) {
        def args = list && list[0] instanceof Map ? (Map) list[0] : list ? [(SYMBOLS[symbol][0][0]): list[0]] : [:]
        if (!SYMBOLS[symbol].any { it.containsAll(args.keySet()) }) {
            throw new AssertionError("${symbol} takes no ${args.keySet() - SYMBOLS[symbol][0]}")
        }
        new Describable(symbol: symbol, args: new LinkedHashMap(args))
    }
}

/** A parameter, a binding or a property, before Jenkins makes one of it. */
class Describable implements Serializable {
    String symbol
    Map args

    String toString() { "${symbol}${args}" }
}
