package kubeworld

// The nodes: Node objects, and for each pod that the scheduler binds to one of them a run of it.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

type nodes struct {
	ctx       context.Context
	client    kubernetes.Interface
	settings  *settings
	resolver  resolver
	recorders map[string]record.EventRecorder // by node
	server    *http.Server                    // the one kubelet endpoint of all nodes

	mu    sync.Mutex
	runs  map[types.UID]*run
	named map[types.NamespacedName]*run // the latest of the name
	ended map[string]bool               // namespaces in which no pod is to run any more
	lost  map[string]*loss              // by node
	ips   int
}

// newNodes makes the Node objects and serves their kubelet endpoint.
func newNodes(ctx context.Context, client kubernetes.Interface, names []string) (*nodes, error) {
	n := &nodes{
		ctx: ctx, client: client, settings: newSettings(), resolver: newResolver(),
		recorders: map[string]record.EventRecorder{}, runs: map[types.UID]*run{}, named: map[types.NamespacedName]*run{},
		ended: map[string]bool{}, lost: map[string]*loss{},
	}
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.server = &http.Server{
		Handler: n.endpoint(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = n.server.ServeTLS(l, "", "") }()
	for _, name := range names {
		if err := n.make(ctx, name, int32(l.Addr().(*net.TCPAddr).Port)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		b := record.NewBroadcaster(record.WithContext(ctx))
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
		n.recorders[name] = b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: name})
	}
	return n, nil
}

func (n *nodes) close() { _ = n.server.Close() }

// make creates a Node that is ready and has room.
func (n *nodes) make(ctx context.Context, name string, port int32) error {
	node, err := n.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
	}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// The API server taints new nodes as not ready; the node controller, which would take that away, runs only while a node is lost.
	node.Spec.Taints = nil
	if node, err = n.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	room := corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("1000")}
	node.Status = corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Conditions:      wellConditions(),
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: name}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: Version(), ContainerRuntimeVersion: "containerd://2.1.4", OperatingSystem: "linux", Architecture: "amd64",
			MachineID: name, SystemUUID: name, BootID: name, KernelVersion: "6.1.0", OSImage: "none",
		},
	}
	_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// wellConditions are those of a node that is ready and has room.
func wellConditions() []corev1.NodeCondition {
	now := metav1.Now()
	return []corev1.NodeCondition{
		{Type: "MemoryPressure", Status: "False", Reason: "KubeletHasSufficientMemory", LastHeartbeatTime: now, LastTransitionTime: now},
		{Type: "DiskPressure", Status: "False", Reason: "KubeletHasNoDiskPressure", LastHeartbeatTime: now, LastTransitionTime: now},
		{Type: "PIDPressure", Status: "False", Reason: "KubeletHasSufficientPID", LastHeartbeatTime: now, LastTransitionTime: now},
		{Type: "Ready", Status: "True", Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now},
	}
}

// watch lets every pod that is bound to one of the nodes run.
func (n *nodes) watch(pods cache.SharedIndexInformer) error {
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.seen(o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { n.seen(o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			n.gone(o.(*corev1.Pod))
		},
	})
	return err
}

func (n *nodes) seen(pod *corev1.Pod) {
	recorder := n.recorders[pod.Spec.NodeName]
	if recorder == nil {
		return
	}
	n.mu.Lock()
	r := n.runs[pod.UID]
	if r == nil && !n.ended[pod.Namespace] && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		n.ips++
		r = newRun(n, pod, recorder, fmt.Sprintf("10.%d.%d.%d", 64+n.ips>>16&63, n.ips>>8&255, n.ips&255))
		n.runs[pod.UID] = r
		n.named[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = r
		go r.live()
	}
	n.mu.Unlock()
	if r != nil && pod.DeletionTimestamp != nil {
		r.end()
	}
}

func (n *nodes) gone(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	if r := n.runs[pod.UID]; r != nil {
		r.cancel()
		delete(n.runs, pod.UID)
		if n.named[name] == r {
			delete(n.named, name)
		}
	}
}

// patchStatus writes what has changed in the status of a pod, as long as it is this pod and no later one of the name. Only a
// patch from the old to the new takes away what is no longer so, such as the reason why a pod was not ready.
func (n *nodes) patchStatus(ctx context.Context, pod *corev1.Pod, old, now corev1.PodStatus) error {
	was, err := json.Marshal(corev1.Pod{Status: old})
	if err != nil {
		return err
	}
	is, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: now})
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(was, is, corev1.Pod{})
	if err != nil {
		return err
	}
	_, err = n.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// certificate is a self-signed one for 127.0.0.1; the API server does not check that of a kubelet unless told to.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubelet"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, &t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
