package kubeworld

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// workers is how many objects each controller works on at a time.
const workers = 4

// startControllers starts the project's own scheduler and controllers, and the nodes on the same informers. It returns when
// all that they watch has been read once.
func startControllers(ctx context.Context, config *rest.Config, client kubernetes.Interface, n *nodes) error {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	// The scheduler's informers leave out pods that have ended; controllers have to see those.
	unended := scheduler.NewInformerFactory(client, 0, nil)
	all := informers.NewSharedInformerFactory(client, 0)
	apps, core := all.Apps().V1(), all.Core().V1()
	sched, err := scheduler.New(ctx, client, unended, nil, profile.NewRecorderFactory(broadcaster),
		scheduler.WithKubeConfig(config), scheduler.WithPodInitialBackoffSeconds(1), scheduler.WithPodMaxBackoffSeconds(2))
	if err != nil {
		return err
	}
	deployments, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), client)
	if err != nil {
		return err
	}
	replicaSets := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), client, replicaset.BurstReplicas)
	statefulSets := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), client)
	daemonSets, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), client,
		flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return err
	}
	collect, err := newCollector(ctx, config, client, all)
	if err != nil {
		return err
	}
	if err := n.watch(core.Pods().Informer()); err != nil {
		return err
	}
	for _, f := range []informers.SharedInformerFactory{unended, all} {
		f.Start(ctx.Done())
		f.WaitForCacheSync(ctx.Done())
	}
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		return err
	}
	go sched.Run(ctx)
	go deployments.Run(ctx, workers)
	go replicaSets.Run(ctx, workers)
	go statefulSets.Run(ctx, workers)
	go daemonSets.Run(ctx, workers)
	go collect()
	return nil
}

// newCollector makes the garbage collector, which ends what an ended owner leaves behind.
func newCollector(ctx context.Context, config *rest.Config, client kubernetes.Interface, all informers.SharedInformerFactory) (func(), error) {
	data, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	ready := make(chan struct{})
	close(ready)
	// Events come and go by the thousand, and nothing owns them.
	ignored := map[schema.GroupResource]struct{}{{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {}}
	gc, err := garbagecollector.NewGarbageCollector(ctx, client, data, mapper, ignored,
		informerfactory.NewInformerFactory(all, metadatainformer.NewSharedInformerFactory(data, 0)), ready)
	if err != nil {
		return nil, err
	}
	return func() {
		go gc.Sync(ctx, client.Discovery(), 30*time.Second)
		gc.Run(ctx, workers, 30*time.Second)
	}, nil
}
