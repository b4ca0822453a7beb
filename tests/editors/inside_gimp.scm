; Runs inside GIMP: opens documents, and writes what it finds in them as lines of text and as PNG files: the picture, and a sheet of
; all layers, one below the other. (One file for each layer would start a program for each.)

(define (bfs-save image layer path)
  (file-png-save RUN-NONINTERACTIVE image layer path path 0 1 0 0 0 0 0))

(define (bfs-write port values)
  (for-each (lambda (value) (write value port) (display " " port)) values)
  (newline port))

(define bfs-sheet 0) ; an image
(define bfs-height 0) ; of the sheet so far

; A copy of the layer that looks like nothing but its pixels, at the end of the sheet; answers where.
(define (bfs-put layer)
  (let ((copy (car (gimp-layer-new-from-drawable layer bfs-sheet))) (top bfs-height))
    (gimp-image-insert-layer bfs-sheet copy 0 0)
    (gimp-layer-set-offsets copy 0 top)
    (gimp-layer-set-opacity copy 100)
    (gimp-layer-set-mode copy LAYER-MODE-NORMAL-LEGACY)
    (gimp-item-set-visible copy TRUE)
    (set! bfs-height (+ top (car (gimp-drawable-height layer))))
    top))

; Layers and groups from top to bottom, the parent's number before its children; answers the next free number.
(define (bfs-walk items parent port number)
  (let loop ((i 0) (number number))
    (if (= i (vector-length items))
        number
        (let* ((item (vector-ref items i))
               (group (car (gimp-item-is-group item)))
               (offsets (gimp-drawable-offsets item)))
          (bfs-write port
            (list number parent group (car (gimp-item-get-name item)) (car offsets) (cadr offsets)
                  (car (gimp-drawable-width item)) (car (gimp-drawable-height item)) (if (= group TRUE) 0 (bfs-put item))
                  (car (gimp-layer-get-opacity item)) (car (gimp-layer-get-mode item)) (car (gimp-item-get-visible item))
                  (car (gimp-layer-get-mask item))))
          (loop (+ i 1)
                (if (= group TRUE)
                    (bfs-walk (cadr (gimp-item-get-children item)) number port (+ number 1))
                    (+ number 1)))))))

(define (bfs-read path folder)
  (let* ((image (car (gimp-file-load RUN-NONINTERACTIVE path path)))
         (port (open-output-file (string-append folder "/layers.txt"))))
    (set! bfs-sheet (car (gimp-image-new 1 1 RGB)))
    (set! bfs-height 0)
    (bfs-write port (list (car (gimp-image-width image)) (car (gimp-image-height image))))
    (bfs-walk (cadr (gimp-image-get-layers image)) -1 port 0)
    (close-output-port port)
    (gimp-image-resize-to-layers bfs-sheet)
    (bfs-save bfs-sheet (car (gimp-image-merge-visible-layers bfs-sheet CLIP-TO-IMAGE)) (string-append folder "/sheet.png"))
    (gimp-image-delete bfs-sheet)
    (let ((flat (car (gimp-layer-new-from-visible image image "flat"))))
      (gimp-image-insert-layer image flat 0 0)
      (bfs-save image flat (string-append folder "/flat.png")))
    (gimp-image-delete image)))
