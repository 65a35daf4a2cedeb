import com.cloudbees.groovy.cps.*
import com.cloudbees.groovy.cps.impl.CpsCallableInvocation
import com.cloudbees.groovy.cps.sandbox.*
import groovy.transform.CompileStatic
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer
import org.kohsuke.groovy.sandbox.GroovyInterceptor

/**
 * The part of a Jenkins controller that runs a pipeline: scripts go through the real CPS transformation of the Pipeline
 * plugins, every step is a point where the program is suspended, and at every such point the whole program is written to
 * bytes, read back, and goes on as the copy. What would not survive a restart of the controller fails here.
 */
class Controller {
    final File library          // vars/ lives in it
    final boolean sandbox       // as a folder library is run, or trusted as a global one
    private final GroovyClassLoader loader
    private final Map<String, Class> compiled = [:]

    Controller(File library, boolean sandbox) {
        this.library = library
        this.sandbox = sandbox
        def config = new CompilerConfiguration()
        config.scriptBaseClass = PipelineScript.name
        config.addCompilationCustomizers(sandbox ? new SandboxCpsTransformer() : new CpsTransformer())
        loader = new GroovyClassLoader(Controller.classLoader, config)
    }

    /** A global variable of the library, or null. */
    Object variable(String name) {
        if (!compiled.containsKey(name)) {
            def file = new File(library, "vars/${name}.groovy")
            compiled[name] = file.exists() ? loader.parseClass(file.text, name + '.groovy') : null
        }
        compiled[name]?.newInstance()
    }

    /** Runs a pipeline to its end and leaves everything that it did in the build. */
    void run(Build build, String pipeline) {
        def script = (Script) loader.parseClass(pipeline, "Pipeline${Math.abs(pipeline.hashCode())}.groovy").newInstance()
        Build.current = build
        def program = new Program()
        def main = new Fiber()
        main.frames << new Frame(program: new Continuable(script, Envs.empty(invoker())), context: new Context())
        main.result = new Outcome(null, null)
        program.fibers << main
        try {
            while (!program.fibers[0].done) {
                def fiber = program.next()
                advance(build, program, fiber)
                program = copy(program)
                build.suspensions++
                build.resumed()
            }
            def end = program.fibers[0].result
            build.returned = end.normal
            if (end.failure) {
                build.failed(end.abnormal)
            } else if (build.result == null) {
                build.result = 'SUCCESS'
            }
        } finally {
            Build.current = null
        }
        build.close()
    }

    private Invoker invoker() { sandbox ? new SandboxInvoker() : new DefaultInvoker() }

    /** Runs one fiber up to its next step, and that step. */
    private void advance(Build build, Program program, Fiber fiber) {
        def top = fiber.frames.last()
        Build.context = top.context
        def interceptor = sandbox ? new Whitelist(loader) : null
        interceptor?.register()
        Outcome said
        try {
            said = top.program.run0(fiber.result, [])
        } finally {
            interceptor?.unregister()
        }
        fiber.result = null
        if (!top.program.resumable) { // this body has ended
            fiber.frames.remove(fiber.frames.size() - 1)
            if (top.step) {
                build.left(top.step, top.context)
            }
            fiber.result = top.step == 'catchError' && said.failure && build.caught(top.args, said.abnormal, top.context) ? new Outcome(null, null) : said
            if (fiber.frames.isEmpty()) {
                fiber.done = true
                join(program, fiber)
            }
            return
        }
        if (said.failure || !(said.normal instanceof StepCall)) {
            throw new IllegalStateException("the program was suspended by something that is no step: ${said}", said.abnormal)
        }
        StepCall call = (StepCall) said.normal
        try {
            if (call.name == 'parallel') {
                build.parallel(call, top.context)
                fiber.waits = true
                call.branches().each { name, body ->
                    def child = new Fiber(parent: program.fibers.indexOf(fiber), branch: name)
                    child.frames << new Frame(program: start(body), context: top.context.plus(branch: name), step: 'branch')
                    child.result = new Outcome(null, null)
                    program.fibers << child
                }
            } else if (call.body != null) {
                def inner = build.enter(call, top.context)
                fiber.frames << new Frame(program: start(call.body), context: inner, step: call.name, args: call.args)
                fiber.result = new Outcome(null, null)
            } else {
                fiber.result = new Outcome(build.step(call, top.context), null)
            }
        } catch (PipelineException e) {
            fiber.result = new Outcome(null, e)
        }
    }

    /** A body of a step, ready to run. */
    private Continuable start(Closure body) {
        try {
            body.call()
        } catch (CpsCallableInvocation e) {
            return new Continuable(e.asBlock(), Envs.empty(invoker()))
        }
        throw new IllegalStateException('a body that is not transformed')
    }

    /** A parallel step ends with its last branch, and fails with the first that failed. */
    private static void join(Program program, Fiber ended) {
        if (ended.parent < 0) {
            return
        }
        def branches = program.fibers.findAll { it.parent == ended.parent && !it.joined }
        if (branches.every { it.done }) {
            def parent = program.fibers[ended.parent]
            def bad = branches.find { it.result.failure }
            parent.result = bad != null ? bad.result : new Outcome(branches.collectEntries { [(it.branch): it.result.normal] }, null)
            parent.waits = false
            branches.each { it.joined = true }
        }
    }

    /** The program as it would come back after a restart. */
    private Program copy(Program program) {
        def bytes = new ByteArrayOutputStream()
        try {
            def out = new ObjectOutputStream(bytes)
            out.writeObject(program)
            out.close()
        } catch (NotSerializableException e) {
            throw new AssertionError("a local that is not serialisable lives across a step (after ${Build.current.steps ? Build.current.steps.last() : 'the start'}): ${e.message}")
        }
        Build.current.largest = Math.max(Build.current.largest, bytes.size())
        (Program) new ObjectInputStreamWithLoader(new ByteArrayInputStream(bytes.toByteArray()), loader).readObject()
    }
}

/** All of a running pipeline that has to survive a restart. */
class Program implements Serializable {
    List<Fiber> fibers = []
    int turn = 0

    /** The next fiber that can go on, each in turn, so that branches interleave at every step. */
    Fiber next() {
        for (int i = 0; i < fibers.size(); i++) {
            turn = (turn + 1) % fibers.size()
            def f = fibers[turn]
            if (!f.done && !f.waits) {
                return f
            }
        }
        throw new IllegalStateException('nothing can go on')
    }
}

/** One line of execution: the script, or a branch of parallel. */
class Fiber implements Serializable {
    List<Frame> frames = []
    Outcome result      // what the innermost frame goes on with; in the end, what the fiber came to
    boolean done, waits, joined
    int parent = -1
    String branch
}

/** The script, or the body of a step. */
class Frame implements Serializable {
    Continuable program
    Context context
    String step
    Map args
}

/** Where in the pipeline a step is: its node, directory, variables, secrets. */
class Context implements Serializable {
    String node, workspace, dir, branch
    Map<String, String> env = [:]
    List<String> secrets = []

    Context plus(Map changes) {
        def c = new Context(node: node, workspace: workspace, dir: dir, branch: branch, env: new LinkedHashMap(env), secrets: new ArrayList(secrets))
        changes.each { k, v -> c[k] = v }
        c
    }
}

/** A step that the pipeline calls. */
class StepCall implements Serializable {
    String name
    Map args = [:]
    Closure body

    Map<String, Closure> branches() { args.findAll { it.value instanceof Closure } }

    String toString() { "${name}${args.findAll { !(it.value instanceof Closure) }}" }
}

/** What a step throws. */
class PipelineException extends Exception {
    PipelineException(String message) { super(message) }
}

/** A build that was aborted, by a person or by a timeout. */
class Interrupted extends PipelineException {
    Interrupted(String message) { super(message) }
}

/** What scripts are: steps, global variables of the library, and env, params and currentBuild. */
abstract class PipelineScript extends SerializableScript {
    @Override
    Object invokeMethod(String name, Object args) {
        def list = args instanceof Object[] ? args as List : [args]
        if (Steps.isDescribable(name)) {
            return Steps.describable(name, list)
        }
        if (Steps.isStep(name)) {
            return Continuable.suspend(Steps.call(name, list))
        }
        def v = Build.current.variable(name)
        if (v != null) {
            return org.codehaus.groovy.runtime.InvokerHelper.invokeMethod(v, 'call', args)
        }
        throw new AssertionError("no step and no global variable is called ${name}")
    }

    @Override
    Object getProperty(String name) {
        switch (name) {
            case 'env': return new EnvObject()
            case 'params': return Build.current.params
            case 'currentBuild': return new CurrentBuild()
        }
        def v = Build.current?.variable(name)
        if (v == null) {
            throw new MissingPropertyException(name, getClass())
        }
        v
    }
}

class EnvObject implements Serializable {
    Object getProperty(String name) { Build.current.environment(Build.context)[name] ?: null }

    void setProperty(String name, Object value) { Build.current.global[name] = value?.toString() }
}

class CurrentBuild implements Serializable {
    List getBuildCauses() { Build.current.causes }

    String getDescription() { Build.current.description }

    void setDescription(String text) { Build.current.describe(text) }

    String getResult() { Build.current.result }

    String getCurrentResult() { Build.current.result ?: 'SUCCESS' }

    int getNumber() { Build.current.number }
}
