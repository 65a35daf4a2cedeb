package kube

func (s *Server) syncStatefulSet(o *object) {}
func (s *Server) syncDaemonSet(o *object)   {}
func (s *Server) syncJob(o *object)         {}
