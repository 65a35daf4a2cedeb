import org.kohsuke.groovy.sandbox.GroovyInterceptor
import org.kohsuke.groovy.sandbox.impl.Checker
import org.codehaus.groovy.runtime.*
import com.cloudbees.groovy.cps.CpsDefaultGroovyMethods
import java.lang.reflect.Modifier

/**
 * The sandbox of a folder library: what is not allowed is refused. The list is in whitelist.txt, in the notation of the
 * Script Security plugin, and holds only what its own list and those of the Pipeline plugins hold.
 */
class Whitelist extends GroovyInterceptor {
    private static final Set<String> ALLOWED = new File(System.getProperty('test.dir'), 'whitelist.txt').readLines().findAll { it && !it.startsWith('#') } as Set
    private static final List<Class> GROOVY = [DefaultGroovyMethods, StringGroovyMethods, CpsDefaultGroovyMethods]
    private static final Set<String> ARITHMETIC = ['plus', 'minus', 'multiply', 'div', 'mod', 'compareTo', 'negative', 'next', 'previous'] as Set
    static final Set<String> used = [] as Set // what was needed of the list

    private final ClassLoader loader

    Whitelist(ClassLoader loader) { this.loader = loader }

    @Override
    Object onMethodCall(GroovyInterceptor.Invoker invoker, Object receiver, String method, Object... args) throws Throwable {
        if (receiver != null && !own(receiver) && !(receiver instanceof Number && ARITHMETIC.contains(method))) {
            allow(receiver, method, args)
        }
        super.onMethodCall(invoker, receiver, method, args)
    }

    @Override
    Object onStaticCall(GroovyInterceptor.Invoker invoker, Class receiver, String method, Object... args) throws Throwable {
        if (receiver != Checker) { // a cast, which the transformation turns into a question to the sandbox itself
            allowStatic(receiver, method, args)
        }
        super.onStaticCall(invoker, receiver, method, args)
    }

    @Override
    Object onNewInstance(GroovyInterceptor.Invoker invoker, Class receiver, Object... args) throws Throwable {
        if (receiver.classLoader != loader && !(receiver.classLoader instanceof GroovyClassLoader.InnerLoader)) {
            ask("new ${receiver.name}")
        }
        super.onNewInstance(invoker, receiver, args)
    }

    @Override
    Object onGetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property) throws Throwable {
        if (receiver instanceof Class) {
            ask("staticField ${receiver.name} ${property}")
        } else if (receiver instanceof Map) {
            ask('method java.util.Map get java.lang.Object')
        } else if (receiver instanceof EnvObject) {
            ask('method EnvObject getProperty java.lang.String')
        } else if (!own(receiver)) {
            allow(receiver, 'get' + property.capitalize(), [] as Object[])
        }
        super.onGetProperty(invoker, receiver, property)
    }

    @Override
    Object onSetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property, Object value) throws Throwable {
        if (receiver instanceof Map) {
            ask('method java.util.Map put java.lang.Object java.lang.Object')
        } else if (receiver instanceof EnvObject) {
            ask('method EnvObject setProperty java.lang.String java.lang.Object')
        } else if (!own(receiver)) {
            allow(receiver, 'set' + property.capitalize(), [value] as Object[])
        }
        super.onSetProperty(invoker, receiver, property, value)
    }

    @Override
    Object onGetAttribute(GroovyInterceptor.Invoker invoker, Object receiver, String attribute) throws Throwable {
        ask("field ${receiver.getClass().name} ${attribute}")
        super.onGetAttribute(invoker, receiver, attribute)
    }

    @Override
    Object onSetAttribute(GroovyInterceptor.Invoker invoker, Object receiver, String attribute, Object value) throws Throwable {
        ask("field ${receiver.getClass().name} ${attribute}")
        super.onSetAttribute(invoker, receiver, attribute, value)
    }

    @Override
    Object onGetArray(GroovyInterceptor.Invoker invoker, Object receiver, Object index) throws Throwable {
        if (!receiver.getClass().array) {
            allow(receiver, 'getAt', [index] as Object[])
        }
        super.onGetArray(invoker, receiver, index)
    }

    @Override
    Object onSetArray(GroovyInterceptor.Invoker invoker, Object receiver, Object index, Object value) throws Throwable {
        if (!receiver.getClass().array) {
            allow(receiver, 'putAt', [index, value] as Object[])
        }
        super.onSetArray(invoker, receiver, index, value)
    }

    @Override
    Object onSuperCall(GroovyInterceptor.Invoker invoker, Class senderType, Object receiver, String method, Object... args) throws Throwable {
        ask("method ${senderType.superclass.name} ${method}")
        super.onSuperCall(invoker, senderType, receiver, method, args)
    }

    /** Scripts of the library, and their methods, are theirs; so is what they get from Steps. */
    private static boolean own(Object receiver) { receiver instanceof PipelineScript }

    private static boolean fits(Class[] types, Object[] args) {
        if (types.length != args.length) {
            return false
        }
        for (int i = 0; i < types.length; i++) {
            if (args[i] != null && !org.codehaus.groovy.reflection.ReflectionCache.autoboxType(types[i] as Class)?.isInstance(args[i]) && !types[i].isInstance(args[i])
                && !(args[i] instanceof GString && types[i].isAssignableFrom(String))) {
                return false
            }
        }
        true
    }

    private static List<Class> ancestry(Class c) {
        def all = [] as LinkedHashSet
        def todo = [c]
        while (todo) {
            def next = todo.remove(0)
            if (next != null && all.add(next)) {
                todo << next.superclass
                todo.addAll(next.interfaces as List)
            }
        }
        all << Object
        all as List
    }

    private static void allow(Object receiver, String method, Object[] args) {
        def question = [receiver.getClass(), method, args.collect { it?.getClass() }]
        if (!answered.contains(question)) {
            find(receiver, method, args)
            answered << question
        }
    }

    /** Questions that were answered with yes: reflection is slow. */
    private static final Set<List> answered = [] as Set

    private static void find(Object receiver, String method, Object[] args) {
        def seen = []
        for (Class c : ancestry(receiver.getClass())) {
            for (m in c.declaredMethods) {
                if (m.name == method && !Modifier.isStatic(m.modifiers) && fits(m.parameterTypes, args)) {
                    seen << signature('method', c, method, m.parameterTypes)
                }
            }
        }
        def all = [receiver] + (args as List)
        for (Class g : GROOVY) {
            for (m in g.declaredMethods) {
                if (m.name == method && Modifier.isStatic(m.modifiers) && fits(m.parameterTypes, all as Object[])) {
                    seen << signature('staticMethod', g, method, m.parameterTypes)
                }
            }
        }
        askAny(seen, "${receiver.getClass().name} ${method} ${args.collect { it?.getClass()?.name }.join(' ')}")
    }

    private static void allowStatic(Class receiver, String method, Object[] args) {
        def seen = receiver.declaredMethods.findAll { it.name == method && Modifier.isStatic(it.modifiers) && fits(it.parameterTypes, args) }
            .collect { signature('staticMethod', receiver, method, it.parameterTypes) }
        askAny(seen, "static ${receiver.name} ${method}")
    }

    private static String signature(String kind, Class c, String method, Class[] types) {
        "${kind} ${c.name} ${method}${types.collect { ' ' + (it.array ? it.componentType.name + '[]' : it.name) }.join('')}".toString()
    }

    private static void ask(String signature) { askAny([signature], signature) }

    private static void askAny(List<String> signatures, String otherwise) {
        def hit = signatures.find { ALLOWED.contains(it.toString()) }
        if (hit == null) {
            throw new SecurityException("Scripts not permitted to use ${signatures ? signatures.join(' | ') : otherwise}")
        }
        used << hit.toString()
    }
}
