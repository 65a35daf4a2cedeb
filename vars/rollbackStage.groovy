// rollbackStage is the parameterised rollback of one service in one environment: plan, choose, approve, run. Nothing waits
// for a person while it holds an agent, unless the caller holds one; what was approved is what runs.
List own() {
    return ['method', 'to', 'reason', 'dryRun', 'accept', 'acceptMigrations', 'wait', 'steal', 'noRecord', 'user',
        'choose', 'approve', 'submitter', 'approveWithin', 'stage', 'inputId']
}

Map call(Map args = [:]) {
    rollbackCommand.check('rollbackStage', args, own())
    Map result = [:]
    String name = rollbackCommand.text(args.get('stage'))
    if (name == '') {
        return roll(args)
    }
    stage(name) {
        result = roll(args)
    }
    return result
}

Map roll(Map args) {
    String scope = rollbackCommand.scope(args)
    String method = rollbackCommand.value(args, 'method')
    if (method == '' || method == 'none') {
        echo('rollback: ' + scope + ' stays as it is, ' + (method == '' ? 'no method was given' : 'the method is none') + '.')
        return [method: 'none', exit: '0']
    }
    boolean dry = rollbackCommand.yes('rollbackStage', args, 'dryRun')
    boolean confirm = rollbackCommand.yes('rollbackStage', args, 'confirm') // a service's name cannot be typed here, but a yes can be asked for
    if (!dry && rollbackCommand.value(args, 'reason') == '') {
        error('rollbackStage ' + scope + ': no reason given (ROLLBACK_REASON, or reason:). Nothing was started.')
    }
    Map wanted = [:] + args
    wanted.put('user', rollbackCommand.value(args, 'user') ?: rollbackCommand.user())
    boolean approve = !dry && (confirm || rollbackCommand.yes('rollbackStage', args, 'jenkinsApprove') || rollbackCommand.text(args.get('approve')) == 'true')
    boolean choose = rollbackCommand.text(args.get('choose')) == 'true' && method != 'undo' && rollbackCommand.value(args, 'to') in ['', 'previous']

    if (choose) {
        phase(wanted, 'Choose') {
            Map candidates = look(wanted, 'candidates')
            wanted.put('to', chosen(wanted, candidates))
        }
    }
    Map result = [:]
    if (!approve) {
        phase(wanted, dry ? 'Plan' : 'Rollback') {
            rollbackCommand.within(wanted) {
                result = dry ? plan(wanted) : run(wanted, 'ROLLBACK_OUT=' + rollbackCommand.folder(wanted) + '/plan.json')
            }
            rollbackCommand.finish('rollbackStage', wanted, result)
        }
        return result
    }

    Map planned = [:]
    phase(wanted, 'Plan') {
        planned = look(wanted, 'plan')
        if (planned.get('exit') != '0') {
            rollbackCommand.finish('rollbackStage', wanted, planned)
        }
    }
    if (planned.get('exit') != '0') { // pending
        return planned
    }
    String saved = planned.remove('saved')
    boolean ask = planned.get('changes') != 'false' && rollbackCommand.text(planned.get('resumes')) == ''
    if (ask) {
        phase(wanted, 'Approve') {
            String by = approved(wanted, planned)
            wanted.put('user', (wanted.get('user') ?: 'unknown') + (by ? ', approved by ' + by : ', approved'))
        }
    } else { // what was begun moves on by itself, so it goes on by a plan of the moment
        echo('rollback: ' + scope + (planned.get('changes') == 'false' ? ' is there already' : ' goes on with ' + planned.get('resumes')) + ', so there is nothing to approve.')
    }
    phase(wanted, 'Run') {
        rollbackCommand.within(wanted) {
            String path = rollbackCommand.folder(wanted) + '-approved.json'
            if (ask) {
                writeFile(file: path, text: saved, encoding: 'UTF-8')
            }
            result = run(wanted, ask ? 'ROLLBACK_PLAN=' + path : 'ROLLBACK_OUT=' + rollbackCommand.folder(wanted) + '/plan.json')
        }
        rollbackCommand.finish('rollbackStage', wanted, result)
    }
    return result
}

// phase is a stage of its own where this is all that the job does. In the pipeline of a service the stage is the caller's: Blue
// Ocean does not show stages within one, and the stage view has a column for each, of each service.
void phase(Map wanted, String name, Closure body) {
    if (wanted.get('phases') == true) {
        stage(name) {
            body()
        }
    } else {
        body()
    }
}

// look plans, or lists candidates, on an agent that is given back before anybody is asked.
Map look(Map wanted, String command) {
    Map result = [:]
    rollbackCommand.within(wanted) {
        if (command == 'plan') {
            result = plan(wanted)
            if (result.get('exit') == '0') {
                result.put('saved', readFile(file: rollbackCommand.folder(wanted) + '/plan.json', encoding: 'UTF-8'))
            }
        } else {
            result = rollbackCommand.attempt(command: command, args: wanted, own: [], file: command + '.txt')
        }
    }
    return result
}

Map plan(Map wanted) {
    return rollbackCommand.attempt(command: 'plan', args: wanted, own: own(), file: 'plan.txt',
        and: ['ROLLBACK_OUT=' + rollbackCommand.folder(wanted) + '/plan.json'])
}

// run rolls back by the approved plan, or by one of its own, which it leaves in the archive.
Map run(Map wanted, String plan) {
    return rollbackCommand.attempt(command: 'run', args: wanted, own: own(), file: 'result.txt', and: [plan], changes: true)
}

// chosen asks which of the candidates it is to be.
String chosen(Map wanted, Map candidates) {
    if (candidates.get('exit') != '0') {
        rollbackCommand.finish('rollbackStage', wanted, candidates)
    }
    int n = (candidates.get('candidates') ?: '0').toInteger()
    List labels = []
    for (int i = 1; i <= n; i++) {
        labels.add(candidates.get('candidate.' + i + '.label'))
    }
    if (n == 0) {
        error('rollbackStage ' + rollbackCommand.scope(wanted) + ': there is nothing to roll back to. Nothing was started.')
    }
    Map question = asking(wanted, 'RollbackChoose')
    question.put('message', 'Where should ' + rollbackCommand.scope(wanted) + ' go back to?')
    question.put('ok', 'Plan it')
    question.put('parameters', [choice(name: 'ROLLBACK_TO', choices: labels, description: 'newest first; nothing is changed yet')])
    String label = rollbackCommand.text(ask(wanted, question))
    int at = labels.indexOf(label)
    if (at < 0) { // an answer without a value, which Jenkins lets through
        error('rollbackStage ' + rollbackCommand.scope(wanted) + ': none of the candidates was chosen. Nothing was started.')
    }
    return candidates.get('candidate.' + (at + 1) + '.to')
}

// approved shows what would be done, waits, and returns who said yes; '' if Jenkins does not say.
String approved(Map wanted, Map planned) {
    Map question = asking(wanted, 'RollbackApprove')
    question.put('message', planned.get('summary') + '. Reason: ' + rollbackCommand.value(wanted, 'reason'))
    question.put('ok', 'Roll back')
    question.put('submitterParameter', 'ROLLBACK_APPROVED_BY')
    Object answer = ask(wanted, question)
    if (answer instanceof Map) {
        answer = answer.get('ROLLBACK_APPROVED_BY')
    }
    return rollbackCommand.text(answer)
}

// asking is a question with an id that starts with a capital, as Jenkins has it, and that names the service, so that parallel
// stages of several services can be told apart.
Map asking(Map wanted, String id) {
    String suffix = ''
    if (wanted.containsKey('inputId')) {
        suffix = rollbackCommand.text(wanted.get('inputId'))
    } else {
        for (Object word : rollbackCommand.value(wanted, 'service').split('[^A-Za-z0-9]+')) {
            suffix = suffix + word.toString().capitalize()
        }
    }
    Map question = [id: id + suffix]
    if (rollbackCommand.text(wanted.get('submitter')) != '') {
        question.put('submitter', rollbackCommand.text(wanted.get('submitter')))
    }
    return question
}

// ask waits for the answer, an hour unless the caller says otherwise. Nobody there in time: the build is aborted, and
// production is as it was.
Object ask(Map wanted, Map question) {
    Object answer = null
    timeout(time: (rollbackCommand.text(wanted.get('approveWithin')) ?: '60').toInteger(), unit: 'MINUTES') {
        answer = input(question)
    }
    return answer
}
